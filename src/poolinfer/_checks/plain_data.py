"""Shapes that callers give, as plain data: sequences, mappings, words, and JSON to any depth that is allowed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeGuard

from .._data.errors import InvalidRequest
from .._data.option_names import scalar
from .budgets import Budget, Work
from .limits import LIMITS, count, refuse, show

_DEPTH = int(LIMITS["depth"].high)
_PUNCTUATION = 2
_NUMBER = 8


def items(field: str, value: object, remedy: str) -> Sequence[Any]:
    """The value, if it is a sequence of things (a text is not)."""
    if type(value) is list or type(value) is tuple:
        return value
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview):
        refuse(field, value, remedy)
    # A copy: a class of the caller's could have other items, or another number of them, each time it is asked.
    n = len(value)
    count("items", n, field)
    return tuple(islice(value, n))


def mapping(field: str, value: object, remedy: str) -> Mapping[Any, Any]:
    """The value, if it is a mapping."""
    if type(value) is not dict and not isinstance(value, Mapping):
        refuse(field, value, remedy)
    return value


def one_of(value: object, words: Sequence[str]) -> TypeGuard[str]:
    """Whether the value is one of these words."""
    return isinstance(value, str) and any(str.__eq__(word, value) for word in words)


def only(field: str, found: Mapping[Any, Any], known: set[str], work: Work, remedy: str = "") -> None:
    """Refuse keys that would be ignored; SDKs send the ones they don't use as None or empty."""
    n = len(found)
    if n > len(known):
        work.items(field, n - len(known))
    for key in islice(found, n):
        if key not in known and not _is_nothing(found[key]):
            remedy = remedy or f"leave it out; only {', '.join(sorted(known))} mean something here"
            raise InvalidRequest(f"{field} has the key {show(key)}: {remedy}", field=field)


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str | list | tuple | dict) and not value)


def some(field: str, text: str) -> str:
    """The text, if it is not empty."""
    if not text:
        refuse(field, text, "give some text")
    return text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate keys")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def json_object(field: str, text: str, budget: Budget) -> dict[str, Any]:
    """What a JSON text says, if that is an object. What it says is paid for, and not the text itself."""
    text = Budget("arguments", budget.work).text(field, text)
    budget.work.json(len(text))
    try:
        value = _DECODER.decode(text or "{}")
    except (ValueError, RecursionError):
        refuse(field, text, "use valid JSON, without duplicate keys and not nested deeply")
    return plain_object(field, value, "use a JSON object, as text or as a dict", budget)


def plain_object(field: str, value: object, remedy: str, budget: Budget) -> dict[str, Any]:
    """A private copy of a JSON object, lists as tuples."""
    return _object(field, mapping(field, value, remedy), budget, 1)


def _plain(field: str, value: object, budget: Budget, depth: int) -> Any:
    """Every part is paid for before it is walked over: shared parts cannot explode."""
    if isinstance(value, str):
        return budget.text(field, value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(field, value, budget)
    if isinstance(value, list | tuple):
        n = _pay(field, value, budget, depth)
        return tuple([_plain(field, item, budget, depth + 1) for item in islice(value, n)])
    if isinstance(value, Mapping):
        return _object(field, value, budget, depth)
    return _number(field, scalar(value), budget)


def _object(field: str, value: Mapping[Any, Any], budget: Budget, depth: int) -> dict[str, Any]:
    n = _pay(field, value, budget, depth)
    return {
        budget.text(field, key): _plain(field, item, budget, depth + 1)
        for key, item in islice(value.items(), n)
    }


def _pay(field: str, value: Mapping[Any, Any] | Sequence[Any], budget: Budget, depth: int) -> int:
    """Pay for as many items as the value says that it has; no more may be read."""
    if depth > _DEPTH:
        raise InvalidRequest(f"{field} is nested too deeply: use at most {_DEPTH} levels", field=field)
    n = len(value)
    budget.work.items(field, n)
    budget.take(field, _PUNCTUATION * n)
    return n


def _number(field: str, value: object, budget: Budget) -> bool | int | float:
    budget.take(field, _NUMBER)
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, int) and int.bit_length(value) <= 64:
        return int.__int__(value)
    refuse(field, value, "use JSON data: texts, finite numbers of 64 bits, bools, None, lists and dicts")
