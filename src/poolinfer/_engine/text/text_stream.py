"""From token bytes to the caller's text: characters, stop strings, reasoning, tool calls.

    bytes ──> UTF-8 decoder ──> stop strings ──> text
                                              └─> reasoning split ──> reasoning
                                                                  └─> tool filter ──> answer

Each step holds back only what it cannot yet decide, and the text never waits for the split.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import string
from collections.abc import Callable, Sequence

from ..._data.results import Chunk, ToolCall
from .finder import Automaton, Finder

THINK, THOUGHT = "<think>", "</think>"
CALL, CALLED = "<tool_call>", "</tool_call>"
_ID_SIGNS = string.ascii_letters + string.digits
_THOUGHT, _CALL, _CALLED = Automaton([THOUGHT]), Automaton([CALL]), Automaton([CALLED])


class TextStream:
    """The text of one generation, shown piece by piece; `finish` must end it.

    Attributes:
        stopped: a stop string was met; nothing more may be fed.
    """

    def __init__(
        self, stops: Sequence[str], *, split: bool, reasoning_open: bool = False, tools: bool = False
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._finder = Finder(Automaton(stops))
        self._filter = _ToolFilter() if tools else None
        self._splitter = _Splitter(self._filter, split=split, thinking=reasoning_open)
        self._text, self._answer, self._reasoning = _Joined(), _Joined(), _Joined()
        self.stopped = False

    @property
    def text(self) -> str:
        """All text shown so far."""
        return self._text.value

    @property
    def answer(self) -> str:
        """Of it, what belongs to the answer."""
        return self._answer.value

    @property
    def reasoning(self) -> str:
        """Of it, what belongs to the reasoning."""
        return self._reasoning.value

    def tool_calls(self, nonce: bytes) -> tuple[ToolCall, ...]:
        """The tool calls so far, with ids that follow from the nonce: another one for each generation."""
        calls = self._filter.calls if self._filter else []
        return tuple(ToolCall(_call_id(nonce, index), *call) for index, call in enumerate(calls))

    def feed(self, piece: bytes) -> Chunk | None:
        """Take the bytes of one token; the new text that can be shown, if any.

        Raises:
            RuntimeError: the text has already stopped.
        """
        if self.stopped:
            raise RuntimeError("this text has ended at a stop string")
        text = self._finder.feed(self._decoder.decode(piece))
        self.stopped = self._finder.found
        return self._show(text, *self._splitter.feed(text))

    def finish(self) -> Chunk | None:
        """Show what was held back; `stopped` may become true by it."""
        text = ""
        if not self.stopped:
            text = self._finder.feed(self._decoder.decode(b"", final=True))
            text += "" if self._finder.found else self._finder.finish()
            self.stopped = self._finder.found
        answer, reasoning = self._splitter.feed(text)
        more, thought = self._splitter.finish()
        return self._show(text, answer + more, reasoning + thought)

    def _show(self, text: str, answer: str, reasoning: str) -> Chunk | None:
        if not (text or answer or reasoning):
            return None
        self._text.add(text)
        self._answer.add(answer)
        self._reasoning.add(reasoning)
        return Chunk(text=text, answer=answer, reasoning=reasoning)


def _call_id(nonce: bytes, index: int) -> str:
    """An id in OpenAI's style: `call_`, and 24 letters and digits."""
    number = int.from_bytes(hashlib.sha256(b"%d:%b" % (index, nonce)).digest(), "big")
    return "call_" + "".join(_ID_SIGNS[number // 62**place % 62] for place in range(24))


class _Joined:
    """Strings appended often and read seldom."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def add(self, part: str) -> None:
        if part:
            self._parts.append(part)

    @property
    def value(self) -> str:
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""


class _Trimmer:
    """Passes text on; drops whitespace at its start if asked, holds it back at its end."""

    def __init__(self, *, start: bool) -> None:
        self.start = start
        self._blank: list[str] = []

    def feed(self, text: str) -> str:
        if self.start:
            text = text.lstrip()
        body = text.rstrip()
        if not body:
            self._blank.append(text)
            return ""
        self.start = False
        shown = "".join(self._blank) + body
        self._blank = [text[len(body) :]]
        return shown

    def flush(self) -> str:
        """The whitespace held back, which is then forgotten."""
        blank, self._blank = "".join(self._blank), []
        return blank


class _Splitter:
    """Splits a text into its answer and the reasoning block that it may begin with."""

    def __init__(self, tools: _ToolFilter | None, *, split: bool, thinking: bool) -> None:
        self._tools = tools
        self._blank: list[str] = []
        self._head = ""
        self._thought = Finder(_THOUGHT)
        self._reasoning = _Trimmer(start=True)
        self._phase: Callable[[str], tuple[str, str]] = self._in_answer
        if split:
            self._phase = self._in_reasoning if thinking else self._in_head

    def feed(self, text: str) -> tuple[str, str]:
        """More of the answer and more of the reasoning."""
        return self._phase(text) if text else ("", "")

    def finish(self) -> tuple[str, str]:
        """The rest of both."""
        reasoning = self._reasoning.feed(self._thought.finish())
        head = "".join(self._blank) + self._head
        self._blank, self._head = [], ""
        answer, _ = self._in_answer(head)
        return answer + (self._tools.finish() if self._tools else ""), reasoning

    def _in_head(self, text: str) -> tuple[str, str]:
        if not self._head:
            body = text.lstrip()
            self._blank.append(text[: len(text) - len(body)])
            text = body
        head = self._head = self._head + text
        if len(head) < len(THINK) and THINK.startswith(head):
            return "", ""
        self._head = ""
        if head.startswith(THINK):
            self._blank, self._phase = [], self._in_reasoning
            return self._in_reasoning(head[len(THINK) :])
        head, self._blank, self._phase = "".join(self._blank) + head, [], self._in_answer
        return self._in_answer(head)

    def _in_reasoning(self, text: str) -> tuple[str, str]:
        reasoning = self._reasoning.feed(self._thought.feed(text))
        if not self._thought.found:
            return "", reasoning
        self._phase = self._in_gap
        answer, _ = self._in_gap(self._thought.rest)
        return answer, reasoning

    def _in_gap(self, text: str) -> tuple[str, str]:
        text = text.lstrip()
        if not text:
            return "", ""
        self._phase = self._in_answer
        return self._in_answer(text)

    def _in_answer(self, text: str) -> tuple[str, str]:
        return (self._tools.feed(text) if self._tools else text), ""


class _ToolFilter:
    """Takes well-formed tool call blocks, and the whitespace around them, out of an answer.

    Attributes:
        calls: name and arguments (JSON text) of each.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self._plain = _Trimmer(start=False)
        self._block: list[str] | None = None
        self._finder = Finder(_CALL)

    def feed(self, text: str) -> str:
        """What of the text belongs to the answer."""
        shown = []
        while True:
            part = self._finder.feed(text)
            if self._block is None:
                shown.append(self._plain.feed(part))
            else:
                self._block.append(part)
            if not self._finder.found:
                return "".join(shown)
            text = self._finder.rest
            shown.append(self._turn())

    def finish(self) -> str:
        """What was held back; a block that never closed is plain text."""
        rest = self._finder.finish()
        if self._block is not None:
            rest = CALL + "".join(self._block) + rest
            self._block = None
        return self._plain.feed(rest) + self._plain.flush()

    def _turn(self) -> str:
        """Pass from outside a block to its inside, or back."""
        if self._block is None:
            self._block, self._finder = [], Finder(_CALLED)
            return ""
        body, self._block, self._finder = "".join(self._block), None, Finder(_CALL)
        call = parse_call(body)
        if call is None:
            return self._plain.feed(CALL + body + CALLED)
        self.calls.append(call)
        self._plain.flush()
        self._plain.start = True
        return ""


def parse_call(body: str) -> tuple[str, str] | None:
    """Name and arguments (JSON text) of a tool call block, or None when it is not well-formed."""
    try:
        data = json.loads(body)
        if not isinstance(data, dict):
            return None
        name, arguments = data.get("name"), data.get("arguments")
        if isinstance(arguments, dict | None):
            arguments = json.dumps(arguments or {}, ensure_ascii=False, allow_nan=False)
        if not (name and isinstance(name, str) and isinstance(arguments, str)):
            return None
        # Escapes may spell lone surrogates, which no text that leaves here may hold.
        (name + arguments).encode()
    except (ValueError, RecursionError):
        return None
    return name, arguments
