"""Text that knows, for each of its characters, who wrote it.

A chat template joins its own text (``<|im_start|>``) with texts from anywhere. Every text that comes from a caller
is an `AuthoredText`, and the sandbox makes an `AuthoredText` of whatever is made of one. A plain ``str`` is the
template's own. So after rendering it is known who wrote each character, whatever the template did to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

#: Who wrote a character: the template (or poolinfer), a turn that may spell user-defined tokens
#: (``<think>`` in an assistant's or a system message), or anybody.
OWN, TRUSTED, FOREIGN = 0, 1, 2
#: Who wrote the characters of a mark that is taken out again before anything becomes tokens.
MARK = 3


class AuthoredText(str):
    """A text with its characters' origins; equal to, and hashed as, the plain text.

    Its own operators give plain text. Only the functions of this module and of `text_methods` keep origins.

    Attributes:
        origin: a byte for each character: `OWN`, `TRUSTED`, `FOREIGN` or `MARK`.
    """

    __slots__ = ("origin",)
    origin: bytes

    def __new__(cls, text: str, origin: bytes) -> AuthoredText:
        """A text with a byte of `origin` for each of its characters."""
        self = super().__new__(cls, text)
        self.origin = origin
        return self

    def __iter__(self) -> Iterator[str]:
        """Its characters, each with its origin. Loops and unpacking iterate without asking the runtime."""
        for index, char in enumerate(str.__str__(self)):
            yield AuthoredText(char, self.origin[index : index + 1])


class SafeText(AuthoredText):
    """A text that the ``safe`` filter gave: what ``+`` joins to it is escaped for HTML.

    Jinja does so even in prompts, where nothing else is escaped, and models are used with such prompts.
    """

    __slots__ = ()


_RUN = re.compile(rb"(.)\1*", re.S)
_AUTHORED_TYPES = frozenset({AuthoredText, SafeText})


def written(text: str, by: int) -> str:
    """A text, all of it written by one author."""
    return text if by == OWN else AuthoredText(text, bytes((by,)) * len(text))


def origin(text: str) -> bytes:
    """Who wrote each character of a text, a byte for each."""
    return text.origin if isinstance(text, AuthoredText) else bytes(len(text))


def author(*texts: str) -> int:
    """The least trusted author of any of the texts."""
    found = OWN
    for text in texts:
        if isinstance(text, AuthoredText):
            found = max(
                found, FOREIGN if FOREIGN in text.origin else TRUSTED if TRUSTED in text.origin else OWN
            )
    return found


def join(texts: Sequence[str], separator: str = "") -> str:
    """The texts one after the other, with a separator between them."""
    joined = separator.join(texts)
    if isinstance(separator, AuthoredText) or not _AUTHORED_TYPES.isdisjoint(map(type, texts)):
        return AuthoredText(joined, origin(separator).join(map(origin, texts)))
    return joined


def cut(text: str, start: int | None, stop: int | None, step: int | None = None) -> str:
    """``text[start:stop:step]``, with its authors."""
    span = slice(start, stop, step)
    return (
        AuthoredText(str.__getitem__(text, span), text.origin[span])
        if isinstance(text, AuthoredText)
        else text[span]
    )


def derived(result: str, *sources: str) -> str:
    """A result that cannot be followed character by character: its author is the least trusted of its sources."""
    return written(result, author(*sources))


def runs(text: AuthoredText) -> Iterator[tuple[str, int]]:
    """A text cut where its author changes: the pieces in order, each with its author."""
    plain = str.__str__(text)
    for run in _RUN.finditer(text.origin):
        yield plain[run.start() : run.end()], run[1][0]


def each_char(text: str, change: Callable[[str], str]) -> str:
    """A text changed by a function that changes each character by itself, and looks at no other one."""
    if not isinstance(text, AuthoredText):
        return change(text)
    return join([written(change(piece), by) for piece, by in runs(text)])
