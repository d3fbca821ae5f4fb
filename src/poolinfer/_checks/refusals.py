"""Refusals: errors that name the field, the value that was given, and what to give instead."""

from __future__ import annotations

import reprlib
from typing import Any, NoReturn

from .._data.errors import InvalidGrammar, InvalidRequest

_MAX_SHOWN = 60
#: Items of a dict that is shown (`reprlib` sorts them), and bits of an int.
_FEW, _BITS = 8, 1024
#: What is enough of a text or of bytes to see that there is more.
_HEAD = slice(_MAX_SHOWN + 4)


class _ShortRepr(reprlib.Repr):
    """Shows plain data in part, and all else by its type: the repr of a caller's class may take any time."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlong = _MAX_SHOWN

    def repr1(self, x: Any, level: int) -> str:
        kind = type(x)
        if x is None or kind is bool:
            return repr(x)
        if issubclass(kind, int):
            whole = int.__int__(x)
            return super().repr1(whole, level) if whole.bit_length() <= _BITS else "a huge int"
        if issubclass(kind, float):
            return float.__repr__(x)
        for base in (str, bytes, bytearray):
            if issubclass(kind, base):
                return repr(base.__getitem__(x, _HEAD))
        for box in (dict, list, tuple):
            if issubclass(kind, box):
                n = box.__len__(x)
                plain = kind is box and (box is not dict or n <= _FEW)
                return super().repr1(x, level) if plain else f"{_a(kind)} of {n} items"
        return _a(kind)


_repr = _ShortRepr()


def _a(kind: type) -> str:
    name = kind.__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name[:_MAX_SHOWN]}"


def show(value: object) -> str:
    """A value as messages show it: its repr, cut to about 60 characters, at a bounded cost."""
    text = _repr.repr(value)
    return text if len(text) <= _MAX_SHOWN + 4 else f"{text[:_MAX_SHOWN]}..."


def refuse(field: str, value: object, remedy: str) -> NoReturn:
    """Raise `InvalidRequest` that names the field, the value and the remedy."""
    raise InvalidRequest(f"{field} is {show(value)}: {remedy}", field=field)


def refuse_grammar(field: str, value: object, remedy: str) -> NoReturn:
    """Raise `InvalidGrammar` that names the field, what is wrong there, and the remedy."""
    raise InvalidGrammar(f"{field} is {show(value)}: {remedy}", field=field)
