"""Where texts spell tokens: as tokens that a template meant, or as text that only looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from .origin import FOREIGN, OWN, TRUSTED, origin

#: Longest spelling of a token that is looked for; a longer one is always plain text.
MAX_SPELLING = 128

_OWN_RUNS = re.compile(b"\0+")
_TRUSTED_AS_FOREIGN = bytes.maketrans(bytes((TRUSTED,)), bytes((FOREIGN,)))
_TRUSTED_AS_OWN = bytes.maketrans(bytes((TRUSTED,)), bytes((OWN,)))


class Spellings:
    """Spellings of tokens, to be found in texts.

    Attributes:
        pattern: finds spellings, at each place the longest.
    """

    def __init__(self, spellings: Iterable[str], *, trusted: bool) -> None:
        """`trusted` says whether trusted turns may spell these, or the template alone."""
        # Whitespace runs are user-defined tokens in some models, and harmless.
        known = {s for s in spellings if 1 < len(s) <= MAX_SPELLING and s.strip(" \t\r\n\u2581")}
        regex = _regex(sorted(known)) or "(?!)"
        self.pattern = re.compile(regex)
        self._overlapping = re.compile(f"(?=({regex}))")
        self._table = _TRUSTED_AS_OWN if trusted else _TRUSTED_AS_FOREIGN

    def meant(self, text: str) -> Iterator[re.Match[str]]:
        """The spellings that are tokens: whoever wrote them may, and wrote each character."""
        plain, by = str.__str__(text), self._authors(text)
        if FOREIGN not in by:
            yield from self.pattern.finditer(plain)
            return
        for run in _OWN_RUNS.finditer(by):
            yield from self.pattern.finditer(plain, *run.span())

    def forged(self, text: str) -> Iterator[int]:
        """Places at which a text must be cut, so that no piece spells a token that was not meant."""
        plain, by = str.__str__(text), self._authors(text)
        if FOREIGN not in by or not self.pattern.search(plain):
            return
        for match in self._overlapping.finditer(plain):
            start, end = match.span(1)
            foreign = by.find(FOREIGN, start, end)
            if foreign >= 0:
                # What is before the first foreign character may be a token that was meant.
                yield max(foreign, start + 1)

    def _authors(self, text: str) -> bytes:
        return origin(text).translate(self._table)


def _regex(words: Sequence[str]) -> str:
    """A regex of the longest of the words, factored by their beginnings (some models have thousands)."""
    tails: dict[str, list[str]] = {}
    for word in filter(None, words):
        tails.setdefault(word[0], []).append(word[1:])
    branches = [re.escape(char) + _regex(rest) for char, rest in tails.items()]
    if len(branches) == 1 and "" not in words:
        return branches[0]
    return f"(?:{'|'.join(branches)}){'?' if '' in words else ''}" if branches else ""
