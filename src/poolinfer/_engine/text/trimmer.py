"""Cutting whitespace off a stream of text."""

from __future__ import annotations


class Trimmer:
    """Passes text on, and holds back whitespace until it is known that more text follows it.

    Attributes:
        at_start: whether whitespace is dropped until the first other character.
    """

    def __init__(self, *, at_start: bool) -> None:
        self.at_start = at_start
        self._blank: list[str] = []

    def feed(self, text: str) -> str:
        """What of the text, and of the whitespace held back before it, can be passed on now."""
        if self.at_start:
            text = text.lstrip()
        body = text.rstrip()
        if not body:
            self._blank.append(text)
            return ""
        self.at_start = False
        shown = "".join(self._blank) + body
        self._blank = [text[len(body) :]]
        return shown

    def flush(self) -> str:
        """The whitespace held back, which is then forgotten."""
        blank, self._blank = "".join(self._blank), []
        return blank
