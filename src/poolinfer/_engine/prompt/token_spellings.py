"""Finds where texts spell tokens: tokens that the template meant, and text that only looks like a token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from .sandbox.authored_text import FOREIGN, OWN, TRUSTED, origin

#: Most characters of a spelling that is looked for; a longer one is always plain text.
MAX_SPELLING = 128
#: Characters that are looked through in one go, about 10 ms where many nearly are spellings.
SEARCH_BLOCK = 256 * 1024

_OWN_RUNS = re.compile(b"\0+")
_TRUSTED_AS_FOREIGN = bytes.maketrans(bytes((TRUSTED,)), bytes((FOREIGN,)))
_TRUSTED_AS_OWN = bytes.maketrans(bytes((TRUSTED,)), bytes((OWN,)))


class Spellings:
    """Finds the spellings of some tokens in texts.

    Args:
        spellings: the spellings of the tokens.
        trusted: whether trusted turns may spell these tokens, too, or the template alone.

    Attributes:
        pattern: finds a spelling; of several that begin at one character, the longest.
    """

    def __init__(self, spellings: Iterable[str], *, trusted: bool) -> None:
        # Whitespace runs are user-defined tokens in some models, and harmless.
        known = {s for s in spellings if 1 < len(s) <= MAX_SPELLING and s.strip(" \t\r\n\u2581")}
        self.pattern = re.compile(_regex(sorted(known)) or "(?!)")
        self._table = _TRUSTED_AS_OWN if trusted else _TRUSTED_AS_FOREIGN

    def within(self, texts: Iterable[str]) -> set[str]:
        """The spellings that texts of nobody hold."""
        return {match.group() for text in texts for match in self.pattern.finditer(text)}

    def meant(self, text: str) -> Iterator[re.Match[str]]:
        """The spellings that become tokens: each character was written by somebody who may spell these tokens."""
        plain, by = str.__str__(text), self._authors(text)
        for run in _OWN_RUNS.finditer(by):
            place, stop = run.span()
            while match := self._next(plain, place, stop):
                yield match
                place = match.end()

    def forged(self, text: str) -> Iterator[int]:
        """Where a text must be cut, so that no piece of it spells a token that was not meant."""
        plain, by = str.__str__(text), self._authors(text)
        if FOREIGN not in by:
            return
        place = 0
        while match := self._next(plain, place, len(plain)):
            start, end = match.span()
            foreign = by.find(FOREIGN, start, end)
            if foreign >= 0:
                # What is before the first foreign character may be a token that was meant.
                yield max(foreign, start + 1)
            # Spellings may overlap.
            place = start + 1

    def _next(self, text: str, place: int, stop: int) -> re.Match[str] | None:
        """The next spelling from `place` on that ends before `stop`. Other threads may run between two blocks."""
        while place < stop:
            end = min(place + SEARCH_BLOCK, stop)
            match = self.pattern.search(text, place, min(end + MAX_SPELLING, stop))
            # What begins behind the block may have been cut.
            if match is not None and match.start() < end:
                return match
            place = end
        return None

    def _authors(self, text: str) -> bytes:
        """Who wrote each character; trusted turns count as the template or as anybody."""
        return origin(text).translate(self._table)


def _regex(words: Sequence[str]) -> str:
    """A regex of the longest of the words, factored by their beginnings (some models have thousands)."""
    if not words:
        return ""
    # The words are sorted, so what the first and the last have in common all have.
    first, last = words[0], words[-1]
    differ = (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    size = next(differ, min(len(first), len(last)))
    tails: dict[str, list[str]] = {}
    for word in words:
        tails.setdefault(word[size : size + 1], []).append(word[size:])
    optional = "?" if tails.pop("", None) else ""
    branches = [_regex(rest) for rest in tails.values()]
    return re.escape(first[:size]) + (f"(?:{'|'.join(branches)}){optional}" if branches else "")
