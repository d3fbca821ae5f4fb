"""Text that arrives in pieces, read by generators that wait where they need more of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias, TypeVar

from .finder import Automaton, Finder

T = TypeVar("T")
#: What reads a text: it yields where the text so far does not suffice, and returns what it has read.
Reading: TypeAlias = Generator[None, None, T]

SPACE = re.compile(r"[ \t\r\n]+")
#: Most whitespace within a mark.
_MAX_INNER_SPACE = 64


class Misspelled(Exception):
    """The text is not what a format says."""


class Scanner:
    """A text that grows at its end and is read from its beginning.

    Attributes:
        final: whether the text grows no more.
    """

    def __init__(self) -> None:
        self.final = False
        self._text, self._at = "", 0
        self._kept: list[str] | None = None
        self._from = 0

    def add(self, text: str) -> None:
        """Add a piece at the end."""
        if self._kept is not None:
            self._kept.append(self._text[self._from : self._at])
        self._text, self._at, self._from = self._text[self._at :] + text, 0, 0

    @property
    def rest(self) -> str:
        """What was not read yet."""
        return self._text[self._at :]

    def keep(self) -> None:
        """Remember what is read from here on."""
        self._kept, self._from = [], self._at

    def forget(self) -> None:
        """Remember no more what was read."""
        self._kept = None

    @property
    def kept(self) -> str:
        """What was read since `keep`, if it was not forgotten."""
        return "" if self._kept is None else "".join(self._kept) + self._text[self._from : self._at]

    def peek(self) -> Reading[str]:
        """The next character, which remains unread; ``""`` at the end."""
        while self._at >= len(self._text):
            if self.final:
                return ""
            yield
        return self._text[self._at]

    def skip(self, count: int = 1) -> None:
        """Read characters that are known to be there."""
        self._at += count

    def after_space(self) -> Reading[str]:
        """Read whitespace; the character after it, which remains unread."""
        while True:
            if match := SPACE.match(self._text, self._at):
                self._at = match.end()
            if self._at < len(self._text) or self.final:
                return self._text[self._at : self._at + 1]
            yield

    def run(self, pattern: re.Pattern[str], most: int) -> Reading[str]:
        """Read as many characters as the pattern takes, which is one of single characters with ``+``.

        Raises:
            Misspelled: there are more than `most`.
        """
        found: list[str] = []
        size = 0
        while True:
            if match := pattern.match(self._text, self._at):
                found.append(match.group())
                size += len(found[-1])
                self._at = match.end()
            if size > most:
                raise Misspelled
            if self._at < len(self._text) or self.final:
                return "".join(found)
            yield

    def available(self, pattern: re.Pattern[str]) -> str:
        """Read what the pattern takes of the text that is there, without waiting for more."""
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group()

    def starts(self, text: str) -> Reading[bool]:
        """Whether the text goes on so; then it is read, and otherwise nothing is."""
        while True:
            rest = self._text[self._at : self._at + len(text)]
            if rest == text:
                self._at += len(text)
                return True
            if self.final or not text.startswith(rest):
                return False
            yield

    def mark(self, marks: Iterable[str]) -> Reading[str | None]:
        """Read whitespace, and then the first of the marks that completes; None if none of them follows.

        Where a mark has whitespace, or ends one tag and begins the next, the text may have more or less whitespace.
        A mark of whitespace alone is there where no other mark is.
        """
        yield from self.after_space()
        live = [(mark, mark.strip(), 0) for mark in marks]
        blank = next((mark for mark, body, _ in live if not body), None)
        live = [found for found in live if found[1]]
        size = space = 0
        while live and space <= _MAX_INNER_SPACE:
            if self._at + size >= len(self._text):
                if self.final:
                    break
                yield
                continue
            char = self._text[self._at + size]
            size += 1
            space = space + 1 if char.isspace() else 0
            live = [(mark, body, at) for mark, body, i in live if (at := _step(body, i, char)) is not None]
            for mark, body, at in live:
                if at == len(body):
                    self._at += size
                    return mark
        return blank

    def until(self, marks: Automaton, write: Callable[[str], None]) -> Reading[str]:
        """Read up to one of the marks, and the mark; which one it is. What stands before it is written.

        Raises:
            Misspelled: the text ends without a mark.
        """
        finder = Finder(marks)
        while True:
            piece, self._at = self._text[self._at :], len(self._text)
            write(finder.feed(piece))
            if not finder.found and self.final:
                write(finder.finish())
            if finder.found:
                self._at -= len(finder.rest)
                return finder.string
            if self.final:
                raise Misspelled
            yield


def _step(mark: str, place: int, char: str) -> int | None:
    """The place in a mark after one more character; None if the mark does not go on so."""
    rest = mark[place:].lstrip()
    if not char.isspace():
        return len(mark) - len(rest) + 1 if rest[0] == char else None
    between = place and (mark[place].isspace() or mark[place] in "<[{" or mark[place - 1] in ">]")
    return place if between else None
