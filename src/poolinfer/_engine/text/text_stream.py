"""The text of one generation, as it grows from the bytes of its tokens.

    bytes ──> UTF-8 decoder ──> stop strings ──> text
                                              └─> splitter ──> answer, reasoning, tool calls

Marks stand for control tokens: the splitter sees them at their places in the text, and callers never do. Each step
holds back only what it cannot yet decide, and the text never waits for the splitter.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from io import StringIO

from ..._data.results import Chunk, ToolCall
from .answer_splitter import AnswerSplitter, Parts
from .finder import Automaton, Finder
from .formats import without_marks


class TextStream:
    """The text of one generation, shown chunk by chunk; `finish` must end it.

    Args:
        stops: texts that end the generation; the one found is not shown.
        splitter: splits the text; without one, all of it is answer.

    Attributes:
        stopped: whether a stop text was met; nothing more may be fed then.
    """

    def __init__(self, stops: Sequence[str], splitter: AnswerSplitter | None = None) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._finder = Finder(Automaton(stops))
        self._splitter = splitter
        self._text, self._answer, self._reasoning = StringIO(), StringIO(), StringIO()
        self._calls: list[_GrowingCall] = []
        self._n_decoded = self._n_shown = 0
        self._marks: deque[tuple[int, str]] = deque()
        self._marked = False
        self.stopped = False

    @property
    def text(self) -> str:
        """All text shown so far."""
        return self._text.getvalue()

    @property
    def answer(self) -> str:
        """What of the text belongs to the answer."""
        return self._answer.getvalue()

    @property
    def reasoning(self) -> str:
        """What of the text belongs to the reasoning."""
        return self._reasoning.getvalue()

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls so far."""
        return tuple(ToolCall(call.id, call.name, call.arguments.getvalue()) for call in self._calls)

    @property
    def ended(self) -> bool:
        """Whether the splitter says that the answer is complete."""
        return self._splitter is not None and self._splitter.ended

    @property
    def in_reasoning(self) -> bool:
        """Whether the text so far ends inside a block of reasoning."""
        return self._splitter is not None and self._splitter.in_reasoning

    @property
    def at_character(self) -> bool:
        """Whether the bytes so far end with a whole character."""
        return not self._decoder.getstate()[0]

    def feed(self, piece: bytes) -> Chunk | None:
        """Take the bytes of one token; the new text that can be shown, if any.

        Raises:
            RuntimeError: the text has already stopped.
        """
        return self._found(self._decoder.decode(piece))

    def mark(self, character: str) -> Chunk | None:
        """Take the character of a control token (see `MarkedFormats`); what can be shown now, if anything.

        Raises:
            RuntimeError: the text has already stopped.
        """
        text = self._decoder.decode(b"", final=True)
        self._marks.append((self._n_decoded + len(text), character))
        self._marked = True
        return self._found(text)

    def finish(self) -> Chunk | None:
        """Show what was held back; `stopped` may become true by it."""
        text = ""
        if not self.stopped:
            decoded = self._decoder.decode(b"", final=True)
            self._n_decoded += len(decoded)
            text = self._finder.feed(decoded)
            text += "" if self._finder.found else self._finder.finish()
            self.stopped = self._finder.found
        return self._show(text, last=True)

    def _found(self, text: str) -> Chunk | None:
        """Look for stop texts in new text, and show what stands before them."""
        if self.stopped:
            raise RuntimeError("this text has ended at a stop string")
        self._n_decoded += len(text)
        shown = self._finder.feed(text)
        self.stopped = self._finder.found
        return self._show(shown, last=False)

    def _show(self, text: str, *, last: bool) -> Chunk | None:
        """A chunk of new text, with what the splitter makes of it and of the marks in it."""
        parts = self._split(text, last=last)
        answer, reasoning = "".join(parts.answer), "".join(parts.reasoning)
        if self._marked:
            answer, reasoning = without_marks(answer), without_marks(reasoning)
        if not (text or answer or reasoning or parts.tool_calls):
            return None
        self._text.write(text)
        self._answer.write(answer)
        self._reasoning.write(reasoning)
        for delta in parts.tool_calls:
            if delta.index == len(self._calls):
                self._calls.append(_GrowingCall(delta.id, delta.name))
            self._calls[delta.index].arguments.write(delta.arguments)
        return Chunk(text=text, answer=answer, reasoning=reasoning, tool_calls=tuple(parts.tool_calls))

    def _split(self, text: str, *, last: bool) -> Parts:
        start, self._n_shown = self._n_shown, self._n_shown + len(text)
        if self._splitter is None:
            self._marks.clear()
            return Parts(answer=[text])
        if self._marks:
            pieces, place = [], start
            while self._marks and self._marks[0][0] <= self._n_shown:
                end, character = self._marks.popleft()
                pieces += [text[place - start : end - start], character]
                place = end
            text = "".join(pieces) + text[place - start :]
        return self._splitter.feed(text, last=last)


class _GrowingCall:
    """A tool call whose arguments arrive in parts."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.arguments = StringIO()
