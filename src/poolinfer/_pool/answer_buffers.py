"""Answers as they grow, which readers follow by offsets."""

from __future__ import annotations

from typing import TypeAlias

from .._data.logprobs import TokenLogprob
from .._data.results import Chunk, ToolCallDelta

#: How far a reader has read an answer: characters of text, of answer and of reasoning, and numbers of
#: logprobs and of parts of tool calls.
Offsets: TypeAlias = tuple[int, int, int, int, int]


class TextBuffer:
    """A growing string that readers follow by offset; a reader that keeps up never causes a copy.

    Not thread-safe. But a signal handler may read while its thread reads or appends: a reader replaces the list of
    strings and never changes it.
    """

    __slots__ = ("_strings",)

    def __init__(self) -> None:
        #: Strings, each with the length of all text up to its end.
        self._strings: list[tuple[int, str]] = []

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._strings[-1][0] if self._strings else 0

    def append(self, added: str) -> None:
        """Add to the end."""
        if added:
            # Made before it is appended: a reader that comes in between may replace the list.
            last = self.length + len(added), added
            self._strings.append(last)

    def since(self, offset: int) -> str:
        """The text after an offset."""
        strings = self._strings
        length, last = strings[-1] if strings else (0, "")
        if offset >= length:
            return ""
        if length - len(last) == offset:
            return last
        whole = "".join([string for _, string in strings])
        self._strings = [(length, whole)]
        return whole[offset:]


class AnswerBuffer:
    """One answer of a call, as it grows; readers follow it by offsets.

    Not thread-safe, but a signal handler may read (see `TextBuffer`).
    """

    __slots__ = ("_answer", "_index", "_logprobs", "_reasoning", "_tool_calls", "text")

    def __init__(self, index: int) -> None:
        self._index = index
        self.text, self._answer, self._reasoning = TextBuffer(), TextBuffer(), TextBuffer()
        self._logprobs: list[TokenLogprob] = []
        self._tool_calls: list[ToolCallDelta] = []

    @property
    def end(self) -> Offsets:
        """How much there is."""
        lengths = self.text.length, self._answer.length, self._reasoning.length
        return *lengths, len(self._logprobs), len(self._tool_calls)

    def append(self, chunk: Chunk) -> None:
        """Add a chunk."""
        self.text.append(chunk.text)
        self._answer.append(chunk.answer)
        self._reasoning.append(chunk.reasoning)
        self._logprobs.extend(chunk.logprobs)
        self._tool_calls.extend(chunk.tool_calls)

    def since(self, start: Offsets) -> tuple[Chunk, Offsets]:
        """What came after some offsets, and the offsets of its end."""
        text, answer, reasoning, logprobs, calls = start
        chunk = Chunk(
            self.text.since(text),
            self._answer.since(answer),
            self._reasoning.since(reasoning),
            tuple(self._logprobs[logprobs:]),
            tuple(self._tool_calls[calls:]),
            self._index,
        )
        return chunk, (
            text + len(chunk.text),
            answer + len(chunk.answer),
            reasoning + len(chunk.reasoning),
            logprobs + len(chunk.logprobs),
            calls + len(chunk.tool_calls),
        )
