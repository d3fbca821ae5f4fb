"""The text of one generation, as it grows from the bytes of its tokens.

    bytes ──> UTF-8 decoder ──> stop strings ──> text
                                              └─> reasoning splitter ──> reasoning
                                                                     └─> tool call filter ──> answer

Each step holds back only what it cannot yet decide, and the text never waits for the steps after it.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from io import StringIO

from ..._data.results import Chunk, ToolCall
from .finder import Automaton, Finder
from .reasoning import ReasoningSplitter
from .tool_calls import ToolCallFilter


class TextStream:
    """The text of one generation, shown chunk by chunk; `finish` must end it.

    Args:
        stops: texts that end the generation; the one found is not shown.
        split: whether the text may begin with a block of reasoning.
        reasoning_open: whether the prompt has opened that block already.
        tools: whether tool calls are looked for.

    Attributes:
        stopped: whether a stop text was met; nothing more may be fed then.
    """

    def __init__(
        self, stops: Sequence[str], *, split: bool, reasoning_open: bool = False, tools: bool = False
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._finder = Finder(Automaton(stops))
        self._splitter = ReasoningSplitter(reasoning_open=reasoning_open) if split else None
        self._filter = ToolCallFilter() if tools else None
        self._text, self._answer, self._reasoning = StringIO(), StringIO(), StringIO()
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

    def tool_calls(self, nonce: bytes) -> tuple[ToolCall, ...]:
        """The tool calls so far; their ids follow from the nonce, which is another one for each generation."""
        return self._filter.calls(nonce) if self._filter else ()

    def feed(self, piece: bytes) -> Chunk | None:
        """Take the bytes of one token; the new text that can be shown, if any.

        Raises:
            RuntimeError: the text has already stopped.
        """
        if self.stopped:
            raise RuntimeError("this text has ended at a stop string")
        text = self._finder.feed(self._decoder.decode(piece))
        self.stopped = self._finder.found
        answer, reasoning = self._splitter.feed(text) if self._splitter else (text, "")
        if self._filter and answer:
            answer = self._filter.feed(answer)
        return self._show(text, answer, reasoning)

    def finish(self) -> Chunk | None:
        """Show what was held back; `stopped` may become true by it."""
        text = ""
        if not self.stopped:
            text = self._finder.feed(self._decoder.decode(b"", final=True))
            text += "" if self._finder.found else self._finder.finish()
            self.stopped = self._finder.found
        answer, reasoning = text, ""
        if self._splitter:
            answer, reasoning = self._splitter.feed(text)
            last, more = self._splitter.finish()
            answer, reasoning = answer + last, reasoning + more
        if self._filter:
            answer = self._filter.feed(answer) + self._filter.finish()
        return self._show(text, answer, reasoning)

    def _show(self, text: str, answer: str, reasoning: str) -> Chunk | None:
        if not (text or answer or reasoning):
            return None
        self._text.write(text)
        self._answer.write(answer)
        self._reasoning.write(reasoning)
        return Chunk(text=text, answer=answer, reasoning=reasoning)
