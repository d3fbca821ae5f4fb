"""Where texts spell tokens, or could together with their neighbours; and how marks break that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise

#: Longest spelling of a token that is looked for; a longer one is always plain text.
MAX_SPELLING = 128


class Spellings:
    """Spellings of tokens, to be found in texts and broken by marks.

    Attributes:
        pattern: finds spellings, at each place the longest.
    """

    def __init__(self, spellings: Iterable[str]) -> None:
        # Whitespace runs are user-defined tokens in some models, and harmless.
        known = {s for s in spellings if 1 < len(s) <= MAX_SPELLING and s.strip(" \t\r\n\u2581")}
        regex = _regex(sorted(known)) or "(?!)"
        self.pattern = re.compile(regex)
        self._overlapping = re.compile(f"(?=({regex}))")
        self._firsts = {spelling[0] for spelling in known}
        self._lasts = {spelling[-1] for spelling in known}
        self._longest = max(map(len, known), default=0)
        self._joined = "\0".join(("", *sorted(known), ""))

    def defuse(self, text: str, *, mark: str, inner: bool = False) -> str:
        """The text with a mark wherever it spells a token, or could with what comes beside it.

        Args:
            text: the text.
            mark: the mark.
            inner: whether also a text that could be the inside of a spelling gets one.
        """
        places = {start + 1 for start, _ in self._spans(text)}
        places.update(self._borders(text, inner))
        if not places:
            return text
        edges = [0, *sorted(places), len(text)]
        return mark.join(text[a:b] for a, b in pairwise(edges))

    def cut(self, text: str, mark: str) -> list[str]:
        """The text without its marks, in pieces: cut at those marks that break a spelling.

        A mark that breaks nothing leaves no trace, so that ordinary text is tokenized as in training.
        """
        parts = text.split(mark)
        if len(parts) == 1:
            return parts
        text = "".join(parts)
        inside = {place for start, end in self._spans(text) for place in range(start + 1, end)}
        edges = [0, *sorted(inside.intersection(accumulate(map(len, parts)))), len(text)]
        return [text[a:b] for a, b in pairwise(edges)]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        if self.pattern.search(text):
            for match in self._overlapping.finditer(text):
                yield match.span(1)

    def _borders(self, text: str, inner: bool) -> Iterator[int]:
        # Inside the outer whitespace, because templates trim.
        body = text.strip()
        start = len(text) - len(text.lstrip())
        if self._ends_a_spelling(body) or (inner and body and body in self._joined):
            yield start
        if self._begins_a_spelling(body):
            yield start + len(body)

    def _ends_a_spelling(self, body: str) -> bool:
        """Whether the body's first characters are the last ones of a spelling."""
        head = body[: self._longest]
        return any(
            char in self._lasts and head[:end] + "\0" in self._joined for end, char in enumerate(head, 1)
        )

    def _begins_a_spelling(self, body: str) -> bool:
        """Whether the body's last characters are the first ones of a spelling."""
        tail = body[-self._longest :] if self._longest else ""
        return any(
            char in self._firsts and "\0" + tail[start:] in self._joined for start, char in enumerate(tail)
        )


def _regex(words: Sequence[str]) -> str:
    """A regex of the longest of the words, factored by their beginnings (some models have thousands)."""
    tails: dict[str, list[str]] = {}
    for word in filter(None, words):
        tails.setdefault(word[0], []).append(word[1:])
    branches = [re.escape(char) + _regex(rest) for char, rest in tails.items()]
    if len(branches) == 1 and "" not in words:
        return branches[0]
    return f"(?:{'|'.join(branches)}){'?' if '' in words else ''}" if branches else ""
