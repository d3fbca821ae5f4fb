"""Tool calls within reasoning: some models forget to end their reasoning before they call tools."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from ..._data.results import ToolCallDelta
from .section_reader import SectionReader


class ReasonedCalls:
    """Reads what may be tool calls within reasoning. They count only if nothing follows them.

    Args:
        mark: what the first section begins with.
        marks: what sections begin with.
        new_reader: makes the reader of a section, from what that begins with.

    Attributes:
        mark: what the first section begins with.
        calls: the parts of calls so far, whose indexes count all sections.
        refuted: whether all of it is reasoning.
    """

    def __init__(self, mark: str, marks: Collection[str], new_reader: Callable[[str], SectionReader]) -> None:
        self.mark = mark
        self.calls: list[ToolCallDelta] = []
        self.refuted = False
        self._marks = marks
        self._new_reader = new_reader
        self._reader: SectionReader | None = new_reader(mark)
        self._n_before = 0
        self._head = ""
        self._read: list[str] = []

    @property
    def text(self) -> str:
        """What was read after the first mark."""
        return "".join(self._read)

    def feed(self, text: str) -> None:
        """Take the next piece of the text."""
        self._read.append(text)
        while not self.refuted:
            if self._reader is not None:
                self._take(self._reader.feed(text))
                if not self._reader.ended:
                    return
                text = self._reader.rest
                self._end_section(self._reader)
                continue
            head = self._head = (self._head + text).lstrip()
            mark = max((mark for mark in self._marks if head.startswith(mark)), key=len, default="")
            if mark:
                text, self._head, self._reader = head[len(mark) :], "", self._new_reader(mark)
            elif any(mark.startswith(head) for mark in self._marks):
                return
            else:
                self.refuted = True

    def finish(self) -> None:
        """Nothing follows."""
        if self._reader is not None:
            self._take(self._reader.finish())
            self._end_section(self._reader)
        self.refuted = self.refuted or bool(self._head)

    def _take(self, deltas: list[ToolCallDelta]) -> None:
        self.calls += [replace(delta, index=self._n_before + delta.index) for delta in deltas]

    def _end_section(self, reader: SectionReader) -> None:
        self.refuted = reader.failed or not self.calls
        if self.calls:
            self._n_before = self.calls[-1].index + 1
        self._reader = None
