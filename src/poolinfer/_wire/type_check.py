"""Whether a decoded value really has the types that its dataclass declares: a child process may send anything."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

Check: TypeAlias = Callable[[Any], bool]

#: The bound of all numbers, so that their sums are finite. Infinity and NaN are beyond it.
_LARGEST = 2**63


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
        return _union(get_args(hint))
    if origin is tuple:
        return _tuple(get_args(hint))
    if origin is Mapping or origin is dict:
        return _mapping(*map(_check_of, get_args(hint)))
    if is_dataclass(hint):
        return _fields(cast("type[Any]", hint))
    return _plain(hint)


def _plain(hint: Any) -> Check:
    if hint is float:
        return lambda value: isinstance(value, float | int) and -_LARGEST <= value <= _LARGEST
    if hint is int:
        return lambda value: isinstance(value, int) and -_LARGEST <= value <= _LARGEST
    if hint in (str, bool, bytes, type(None), Mapping):
        return lambda value: isinstance(value, hint)
    raise TypeError(f"{hint} is not a type of data that travels")


def _union(parts: tuple[Any, ...]) -> Check:
    classes: list[Any] = [part for part in parts if is_dataclass(part)]
    by_type: dict[Any, Check] = {cls: _check_of(cls) for cls in classes}
    checks = tuple(_check_of(part) for part in parts if part not in by_type)

    def check(value: Any) -> bool:
        found = by_type.get(type(value))
        return found(value) if found is not None else any(check(value) for check in checks)

    return check


def _mapping(key: Check, item: Check) -> Check:
    return lambda value: (
        isinstance(value, Mapping) and all(key(name) and item(part) for name, part in value.items())
    )


def _tuple(parts: tuple[Any, ...]) -> Check:
    if parts[-1] is ...:
        return _every(_check_of(parts[0]))
    checks = tuple(map(_check_of, parts))

    def check(value: Any) -> bool:
        if not isinstance(value, tuple) or len(value) != len(checks):
            return False
        for part, one in zip(value, checks, strict=True):  # noqa: SIM110 - a generator costs as much as the checks
            if not one(part):
                return False
        return True

    return check


def _every(each: Check) -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, tuple):
            return False
        for part in value:  # noqa: SIM110
            if not each(part):
                return False
        return True

    return check


def _fields(cls: type[Any]) -> Check:
    checks: list[tuple[str, Check]] = []

    def check(value: Any) -> bool:
        if type(value) is not cls:
            return False
        # Not before there is a value: a field may hold objects of the very same class.
        if not checks:
            checks[:] = [(name, _check_of(hint)) for name, hint in get_type_hints(cls).items()]
        for name, one in checks:  # noqa: SIM110
            if not one(getattr(value, name)):
                return False
        return True

    return check
