"""Splitting what a model says into its answer, its reasoning and its tool calls, wherever the text is cut.

    beginning ──> answer ──> section of tool calls ──> beginning
        └───────────┴──────> reasoning ──────────────> beginning

At a beginning, only whitespace has been read since the last part. Each place holds back only what it cannot yet
decide. A section that is not well-formed is read again as answer, up to a bound, so that the time stays linear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

from ..._data.results import ToolCallDelta
from .call_ids import CallIds
from .finder import Automaton, Finder
from .formats import Formats
from .parameter_types import ParameterTypes
from .reasoned_calls import ReasonedCalls
from .section_reader import SectionReader
from .trimmer import Trimmer

#: Most characters of one generation that are read again, because a section that they began was not well-formed.
MAX_READ_AGAIN = 64 * 1024

#: Reads text in one place of an answer; the text that it returns is read in the place where the answer then is.
_Place: TypeAlias = Callable[[str], str]


@dataclass(slots=True)
class Parts:
    """What a piece of text added.

    Attributes:
        answer: new texts of the answer.
        reasoning: new texts of the reasoning.
        tool_calls: new parts of tool calls.
    """

    answer: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tool_calls: list[ToolCallDelta] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Marks:
    """What a splitter looks for.

    Attributes:
        opens: the marks that begin reasoning.
        ends: the marks that end it.
        calls: the marks that begin tool calls.
        beginnings: the marks that are looked for only at a beginning.
        in_answer: finds all others.
        closes: finds what ends reasoning.
        in_reasoning: finds that, and tool calls.
        cuts: whether something can follow in an answer that drops the whitespace before it.
    """

    opens: frozenset[str]
    ends: frozenset[str]
    calls: frozenset[str]
    beginnings: tuple[str, ...]
    in_answer: Automaton
    closes: Automaton
    in_reasoning: Automaton
    cuts: bool


@lru_cache(maxsize=32)
def _marks_of(formats: Formats) -> _Marks:
    tools, reasoning = formats.tools, formats.reasoning
    calls, at_start = (tools.opens, tools.at_start) if tools else ((), False)
    opens, closes = (reasoning.opens, reasoning.closes) if reasoning else ((), ())
    anywhere = reasoning is not None and reasoning.anywhere
    return _Marks(
        opens=frozenset(opens),
        ends=frozenset(closes),
        calls=frozenset(calls),
        beginnings=(*opens, *closes, *(reasoning.leads if reasoning else ()), *(calls if at_start else ())),
        in_answer=Automaton(
            (
                *(reasoning.skipped if reasoning else ()),
                *(opens if anywhere else ()),
                *(() if at_start else calls),
            ),
            longest=True,
        ),
        closes=Automaton(closes, longest=True),
        in_reasoning=Automaton((*closes, *(() if at_start else calls)), longest=True),
        cuts=bool(calls) or anywhere,
    )


@dataclass(slots=True)
class _Section:
    """A section of tool calls that is being read.

    Attributes:
        reader: what reads it.
        mark: what the model has written of its opening.
        first: how many calls the answer had before it.
    """

    reader: SectionReader
    mark: str
    first: int


class AnswerSplitter:
    """Splits a stream of text by a model's formats.

    Whitespace at the ends of reasoning, after it, and around tool calls is dropped.

    Args:
        formats: how the model spells reasoning and tool calls; what has no format is not looked for.
        ids: gives calls their ids.
        types: what is known of the tools that may be called.
        reasoning_open: whether the prompt has opened a block of reasoning.
        single: whether the answer ends after the first call.

    Attributes:
        ended: whether the answer is complete; what is fed then is dropped.
        n_calls: how many tool calls have begun.
    """

    def __init__(
        self,
        formats: Formats,
        ids: CallIds,
        types: ParameterTypes,
        *,
        reasoning_open: bool = False,
        single: bool = False,
    ) -> None:
        self.ended = False
        self.n_calls = 0
        self._format, self._ids, self._types, self._single = formats.tools, ids, types, single
        self._read_again = MAX_READ_AGAIN
        self._marks = _marks_of(formats)
        self._parts = Parts()
        self._blank: list[str] = []
        self._head = ""
        self._answer, self._reasoning = Trimmer(at_start=False), Trimmer(at_start=True)
        self._finder = Finder(self._marks.in_answer)
        self._section: _Section | None = None
        self._doubt: ReasonedCalls | None = None
        self._place: _Place = self._at_beginning
        self._opened = reasoning_open and formats.reasoning is not None
        if self._opened:
            self._drop_blank()
        elif formats.tools and formats.tools.begun:
            self._begin_section(formats.tools.begun, written="")  # by the model; the prompt has written it

    @property
    def in_reasoning(self) -> bool:
        """Whether the text so far ends inside a block of reasoning."""
        return self._opened or self._place in (self._in_reasoning, self._in_doubt)

    def feed(self, text: str, *, last: bool = False) -> Parts:
        """Take the next piece of the text; what it added. After the `last` piece, nothing is held back."""
        self._read(text)
        if last:
            while not self.ended and (rest := self._end()) is not None:
                self._read(rest)
            self._parts.answer.append(self._answer.flush())
        parts, self._parts = self._parts, Parts()
        return parts

    def _read(self, text: str) -> None:
        while text and not self.ended:
            text = self._place(text)

    def _end(self) -> str | None:
        """End the place that the text ends in; what is still to be read, or None if nothing is."""
        if self._section is not None:
            self._take(self._section.first, self._section.reader.finish())
            return self._after_section(self._section, "")
        if self._doubt is not None:
            return self._end_doubt(self._doubt)
        if self._place == self._at_beginning:
            return self._decide() if self._head or self._blank else None
        finder, pass_on = self._finder, self._think if self.in_reasoning else self._say
        rest = pass_on(finder.finish())
        return rest if finder.found else None

    # --- the beginning of a part

    def _at_beginning(self, text: str) -> str:
        """Find out what begins here; the marks of beginnings are few and short."""
        if not self._head:
            body = text.lstrip()
            self._blank.append(text[: len(text) - len(body)])
            text = body
        head = self._head = self._head + text
        if not head or any(
            len(mark) > len(head) and mark.startswith(head) for mark in self._marks.beginnings
        ):
            return ""
        return self._decide()

    def _decide(self) -> str:
        """Go where the text leads that was read here; the part of it that is to be read there."""
        blank, head, self._blank, self._head = "".join(self._blank), self._head, [], ""
        mark = max((mark for mark in self._marks.beginnings if head.startswith(mark)), key=len, default="")
        if self._opened:
            # A model may begin a block once more that the prompt has begun.
            self._opened = False
            self._begin_reasoning()
            return head[len(mark) :] if mark in self._marks.opens else blank + head
        self._follow(mark, self._in_answer)
        return head[len(mark) :] if mark else blank + head

    def _follow(self, mark: str, otherwise: _Place) -> None:
        """Go where a mark leads."""
        if mark in self._marks.calls:
            self._begin_section(mark)
        elif mark in self._marks.opens:
            self._begin_reasoning()
        elif mark in self._marks.ends:
            # A model may end a block that it did not begin.
            self._drop_blank()
            self._place = self._at_beginning
        else:
            self._finder, self._place = Finder(self._marks.in_answer), otherwise

    # --- the answer and the reasoning

    def _in_answer(self, text: str) -> str:
        return self._say(self._finder.feed(text))

    def _say(self, text: str) -> str:
        """Add to the answer what the finder let pass; what is to be read after the mark, if it found one."""
        finder = self._finder
        self._add_answer(text)
        if finder.found:
            self._follow(finder.string, self._at_beginning)
        return finder.rest

    def _add_answer(self, text: str) -> None:
        self._parts.answer.append(self._answer.feed(text))
        if not self._marks.cuts and not self._answer.at_start:
            self._parts.answer.append(self._answer.flush())

    def _begin_reasoning(self) -> None:
        self._drop_blank()
        self._reasoning = Trimmer(at_start=True)
        self._go_on_reasoning()

    def _go_on_reasoning(self) -> None:
        found = self._marks.in_reasoning if self._read_again else self._marks.closes
        self._finder, self._place = Finder(found), self._in_reasoning

    def _in_reasoning(self, text: str) -> str:
        return self._think(self._finder.feed(text))

    def _think(self, text: str) -> str:
        """Add to the reasoning what the finder let pass; what is to be read after the block, if that has ended."""
        finder = self._finder
        self._parts.reasoning.append(self._reasoning.feed(text))
        if finder.found and finder.string in self._marks.calls:
            self._doubt = ReasonedCalls(finder.string, self._marks.calls, self._reader)
            self._place = self._in_doubt
        elif finder.found:
            self._place = self._at_beginning
        return finder.rest

    def _drop_blank(self) -> None:
        """Forget whitespace at the end of the answer, and before what follows."""
        self._answer.flush()
        self._answer.at_start = True

    # --- tool calls

    def _reader(self, mark: str) -> SectionReader:
        if self._format is None:
            raise RuntimeError("a section of tool calls began where none are looked for")
        return SectionReader(self._format, mark, self._types)

    def _begin_section(self, mark: str, written: str | None = None) -> None:
        self._section = _Section(self._reader(mark), mark if written is None else written, self.n_calls)
        self._place = self._in_section

    def _in_section(self, text: str) -> str:
        section = self._section
        if section is None:
            raise RuntimeError("there is no section to read")
        self._take(section.first, section.reader.feed(text))
        return self._after_section(section, text) if section.reader.ended else ""

    def _take(self, first: int, deltas: Sequence[ToolCallDelta]) -> None:
        """Give calls, which follow the first so many, their numbers and ids in the answer."""
        for delta in deltas:
            index = first + delta.index
            if index < self.n_calls:
                self._parts.tool_calls.append(replace(delta, index=index, id=""))
            elif self._single and self.n_calls:
                self.ended = True
                return
            else:
                if self.n_calls == first:
                    self._drop_blank()
                self.n_calls += 1
                self._parts.tool_calls.append(replace(delta, index=index, id=self._ids.next(delta.id)))

    def _after_section(self, section: _Section, text: str) -> str:
        """Go on after a section, whose last piece was `text`; what is to be read then."""
        reader = section.reader
        self._section, self._place = None, self._at_beginning
        if self.n_calls > section.first:
            self.ended = self.ended or self._single
        else:
            self._follow("", self._in_answer)
            if reader.failed:
                self._add_answer(section.mark)
        old = max(0, len(reader.rest) - len(text)) if reader.failed else 0
        if old > self._read_again:
            self._add_answer(reader.rest[:old])
            return reader.rest[old:]
        self._read_again -= old
        return reader.rest

    # --- tool calls within reasoning

    def _in_doubt(self, text: str) -> str:
        doubt = self._doubt
        if doubt is None:
            raise RuntimeError("there are no calls to doubt")
        doubt.feed(text)
        return self._reason_on(doubt) if doubt.refuted else ""

    def _end_doubt(self, doubt: ReasonedCalls) -> str | None:
        doubt.finish()
        if doubt.refuted:
            return self._reason_on(doubt)
        self._doubt, self._place = None, self._at_beginning
        self._take(self.n_calls, doubt.calls)
        return None

    def _reason_on(self, doubt: ReasonedCalls) -> str:
        """What was read is reasoning; what of it is to be read again, as the block may end in it."""
        text = doubt.text
        self._doubt, self._read_again = None, max(0, self._read_again - len(text))
        self._parts.reasoning.append(self._reasoning.feed(doubt.mark))
        self._go_on_reasoning()
        return text
