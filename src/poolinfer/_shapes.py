"""Whether a decoded value really has the types that its dataclass declares: a child process may send anything."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

Check: TypeAlias = Callable[[Any], bool]


def conforms(value: object, hint: object) -> bool:
    """Whether a value is of a declared type, to any depth."""
    return _check_of(hint)(value)


@cache
def _check_of(hint: Any) -> Check:
    origin = get_origin(hint)
    if hint in (Any, object):
        return lambda _: True
    if origin is Literal:
        allowed = get_args(hint)
        return lambda value: value in allowed
    if origin in (Union, types.UnionType):
        return _union(tuple(_check_of(part) for part in get_args(hint)))
    if origin is tuple:
        return _tuple(get_args(hint))
    if origin is Mapping or origin is dict:
        return _mapping(*map(_check_of, get_args(hint)))
    if is_dataclass(hint):
        return _fields(cast("type[Any]", hint))
    return _plain(hint)


def _plain(hint: Any) -> Check:
    if hint is float:
        return lambda value: isinstance(value, float | int)
    if hint in (str, int, bool, bytes, type(None), Mapping):
        return lambda value: isinstance(value, hint)
    raise TypeError(f"{hint} is not a type of data that travels")


def _union(checks: tuple[Check, ...]) -> Check:
    return lambda value: any(check(value) for check in checks)


def _mapping(key: Check, item: Check) -> Check:
    return lambda value: (
        isinstance(value, Mapping) and all(key(name) and item(part) for name, part in value.items())
    )


def _tuple(parts: tuple[Any, ...]) -> Check:
    if parts[-1] is ...:
        each = _check_of(parts[0])
        return lambda value: isinstance(value, tuple) and all(map(each, value))
    checks = tuple(map(_check_of, parts))
    return lambda value: (
        isinstance(value, tuple)
        and len(value) == len(checks)
        and all(check(part) for check, part in zip(checks, value, strict=True))
    )


def _fields(cls: type[Any]) -> Check:
    checks = tuple((name, _check_of(hint)) for name, hint in get_type_hints(cls).items())
    return lambda value: type(value) is cls and all(check(getattr(value, name)) for name, check in checks)
