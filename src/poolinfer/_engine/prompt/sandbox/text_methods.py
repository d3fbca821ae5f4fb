"""The methods of texts that chat templates may call. Each one keeps authors, and pays before it makes anything.

`METHODS` maps a name to a function of ``pay``, the text and the method's own arguments. What is not in it
(``encode``, ``translate``) is not there for templates.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .authored_text import AuthoredText, cut, derived, each_char, join
from .fuel import Pay
from .function_tables import preset

#: Widest padding of a text that a template may ask for.
MAX_WIDTH = 10_000
#: What a piece of text costs beside its characters.
PIECE_COST = 64

_WORD = re.compile(r"\S+")
_LINE_END = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def replace(pay: Pay, text: str, old: str, new: str, count: int = -1) -> str:
    """The text with `old` replaced by `new`: everywhere, or at most `count` times if that is not negative."""
    pay(len(text))
    found = str.count(text, old) if count else 0
    found = found if count < 0 else min(count, found)
    if not found:
        return text
    pay(len(text) + found * (PIECE_COST + len(new)))
    if old:
        return join(_pieces(text, str.split(text, old, found), len(old)), new)
    # An empty text is found before each character and at the end.
    chars = [cut(text, index, index + 1) for index in range(found - 1)]
    return join(["", *chars, cut(text, found - 1, None)], new)


def joined(pay: Pay, separator: str, items: Iterable[str]) -> str:
    """The items with the separator between them."""
    parts = list(items)
    for index, part in enumerate(parts):
        if not isinstance(part, str):
            raise TypeError(f"sequence item {index}: expected str instance, {type(part).__name__} found")
    pay(sum(map(len, parts)) + len(parts) * (len(separator) + 1))
    return join(parts, separator)


def strip(pay: Pay, text: str, chars: str | None = None, *, left: bool = True, right: bool = True) -> str:
    """The text without whitespace, or without the characters given, at its ends."""
    if chars is not None:
        # Python looks each character up by searching.
        chars = "".join(set(str.__str__(chars)))
    pay(len(text) * (1 + len(chars or "") // 16))
    start = len(text) - len(str.lstrip(text, chars)) if left else 0
    stop = len(str.rstrip(text, chars)) if right else len(text)
    return cut(text, start, max(start, stop))


def split(pay: Pay, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    """The pieces of the text between separators, or between runs of whitespace."""
    _pay_split(pay, text, sep, maxsplit)
    pieces = str.split(text, sep, maxsplit)
    return _pieces(text, pieces, len(sep)) if sep is not None else _words(text, pieces)


def rsplit(pay: Pay, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    """The pieces of the text between separators, of which at most `maxsplit` are found, from the end."""
    _pay_split(pay, text, sep, maxsplit)
    pieces = str.rsplit(text, sep, maxsplit)
    return _pieces(text, pieces, len(sep)) if sep is not None else _words(text, pieces)


def splitlines(pay: Pay, text: str, keepends: bool = False) -> list[str]:
    """The lines of the text."""
    pay(len(text))
    pay(PIECE_COST * sum(1 for _ in _LINE_END.finditer(text)))
    whole = str.splitlines(text, True)
    if not isinstance(text, AuthoredText):
        return whole if keepends else str.splitlines(text)
    shown = whole if keepends else str.splitlines(text)
    found, start = [], 0
    for line, piece in zip(whole, shown, strict=True):
        found.append(cut(text, start, start + len(piece)))
        start += len(line)
    return found


def partition(pay: Pay, text: str, sep: str, *, right: bool = False) -> tuple[str, str, str]:
    """What is before the first separator (the last one, with `right`), the separator, and what is after it."""
    pay(len(text) * (1 + len(sep) // 16) + 3 * PIECE_COST)
    before, middle, _ = str.rpartition(text, sep) if right else str.partition(text, sep)
    start, stop = len(before), len(before) + len(middle)
    return cut(text, 0, start), cut(text, start, stop), cut(text, stop, None)


def cased(pay: Pay, text: str, change: Callable[[str], str]) -> str:
    """The text in another case, which `change` gives it."""
    pay(3 * len(text))
    result = change(str.__str__(text))
    # No character's other case is empty: as many characters are one for one.
    if isinstance(text, AuthoredText) and len(result) == len(text):
        return AuthoredText(result, text.origin)
    return derived(result, text)


def pad(pay: Pay, text: str, width: int, fillchar: str = " ", *, left: float) -> str:
    """The text padded to a width: `left` is the share of the padding at its left (0, 1, or 0.5 for the middle)."""
    if len(fillchar) != 1:
        raise TypeError("the fill character must be exactly one character long")
    missing = max(0, narrow(width) - len(text))
    pay(len(text) + missing)
    before = int(missing * left) + (missing & width & 1 if left == 0.5 else 0)
    return join([repeat(fillchar, before), text, repeat(fillchar, missing - before)])


def escaped(pay: Pay, text: str) -> str:
    """The text with the five characters escaped that mean something in HTML, as Jinja escapes them."""
    pay(6 * len(text))
    return each_char(
        text, lambda piece: html.escape(piece).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    )


def repeat(text: str, times: int) -> str:
    """``text * times``, which the caller has paid for."""
    return (
        AuthoredText(str.__mul__(text, times), text.origin * times)
        if isinstance(text, AuthoredText)
        else text * times
    )


def narrow(width: int) -> int:
    """A width, if it is small.

    Raises:
        ValueError: the width is no int, or more than `MAX_WIDTH`.
    """
    if not isinstance(width, int) or width > MAX_WIDTH:
        raise ValueError(f"a text is padded to more than {MAX_WIDTH} characters")
    return width


def _expandtabs(pay: Pay, text: str, tabsize: int = 8) -> str:
    """The text with spaces instead of tabs."""
    pay(len(text) + str.count(text, "\t") * max(0, narrow(tabsize)))
    return derived(str.expandtabs(text, tabsize), text)


def _zfill(pay: Pay, text: str, width: int) -> str:
    """The text with zeros before its digits, up to a width."""
    pay(len(text) + max(0, narrow(width)))
    return derived(str.zfill(text, width), text)


def _remove(pay: Pay, text: str, affix: str, *, prefix: bool) -> str:
    """The text without a prefix or a suffix."""
    pay(len(text))
    if prefix:
        return cut(text, len(text) - len(str.removeprefix(text, affix)), None)
    return cut(text, 0, len(str.removesuffix(text, affix)))


def _pay_split(pay: Pay, text: str, sep: str | None, maxsplit: int) -> None:
    """Pay for splitting a text: for looking through it, and for each piece."""
    # Searching from the end takes as long as both together, in Python up to 3.12.
    pay(len(text) * (1 + len(sep or "") // 16))
    found = str.count(text, sep) if sep else sum(1 for _ in _WORD.finditer(text))
    pay(len(text) + PIECE_COST * (found if maxsplit < 0 else min(found, maxsplit)))


def _pieces(text: str, pieces: list[str], gap: int) -> list[str]:
    """The pieces of a text with their authors; between two of them are `gap` characters of the text."""
    if not isinstance(text, AuthoredText):
        return pieces
    found, start = [], 0
    for piece in pieces:
        found.append(cut(text, start, start + len(piece)))
        start += len(piece) + gap
    return found


def _words(text: str, pieces: list[str]) -> list[str]:
    """The pieces of a text with their authors; only whitespace is between them."""
    if not isinstance(text, AuthoredText):
        return pieces
    found, start = [], 0
    for piece in pieces:
        start = str.index(text, piece, start)
        found.append(cut(text, start, start + len(piece)))
        start += len(piece)
    return found


def _ask(pay: Pay, text: str, *args: Any, question: Callable[..., Any]) -> Any:
    """The answer of a method of ``str`` that gives no text."""
    words = [word for arg in args for word in (arg if isinstance(arg, tuple) else (arg,))]
    longest = max((len(word) for word in words if isinstance(word, str)), default=0)
    # Searching from the end takes as long as both together, in Python up to 3.12.
    pay(len(words) + len(text) * (1 + longest // 16))
    return question(text, *args)


_CASES = (str.lower, str.upper, str.title, str.capitalize, str.casefold, str.swapcase)
_QUESTIONS = (
    *(str.startswith, str.endswith, str.find, str.rfind, str.index, str.rindex, str.count),
    *(str.isalnum, str.isalpha, str.isascii, str.isdecimal, str.isdigit, str.isidentifier, str.islower),
    *(str.isnumeric, str.isprintable, str.isspace, str.istitle, str.isupper),
)

#: What a template may call on a text, beside `join` and `format`, which `value_methods` has.
METHODS: Mapping[str, Callable[..., Any]] = {
    **{change.__name__: preset(cased, change=change) for change in _CASES},
    **{question.__name__: preset(_ask, question=question) for question in _QUESTIONS},
    "replace": replace,
    "strip": strip,
    "lstrip": preset(strip, right=False),
    "rstrip": preset(strip, left=False),
    "split": split,
    "rsplit": rsplit,
    "splitlines": splitlines,
    "partition": partition,
    "rpartition": preset(partition, right=True),
    "removeprefix": preset(_remove, prefix=True),
    "removesuffix": preset(_remove, prefix=False),
    "ljust": preset(pad, left=0),
    "rjust": preset(pad, left=1),
    "center": preset(pad, left=0.5),
    "expandtabs": _expandtabs,
    "zfill": _zfill,
}
