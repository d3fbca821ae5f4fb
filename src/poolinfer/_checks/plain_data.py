"""Values that callers give, as plain data: sequences, mappings, words, flags, and nested JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeGuard

from .._data.errors import InvalidRequest
from .._data.option_names import scalar
from .budgets import ByteBudget, WorkBudget
from .limits import count
from .refusals import refuse, show

# Bytes that count for an item beside its text, and for a number.
_ITEM_BYTES = 2
_NUMBER_BYTES = 8


def sequence(field: str, value: object, remedy: str) -> Sequence[Any]:
    """The value, if it is a sequence and no text; a copy, unless it is a plain list or tuple."""
    if type(value) is list or type(value) is tuple:
        return value
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview):
        refuse(field, value, remedy)
    # A copy: a class of the caller's could have other items, or another number of them, each time it is asked.
    n = len(value)
    count("items", n, field)
    return tuple(islice(value, n))


def mapping(field: str, value: object, remedy: str) -> Mapping[Any, Any]:
    """The value, if it is a mapping; it is not copied."""
    if type(value) is not dict and not isinstance(value, Mapping):
        refuse(field, value, remedy)
    return value


def is_one_of(value: object, words: Sequence[str]) -> TypeGuard[str]:
    """Whether the value is one of these words."""
    return isinstance(value, str) and any(str.__eq__(word, value) for word in words)


def refuse_other_keys(
    field: str, found: Mapping[Any, Any], known: set[str], work: WorkBudget, remedy: str = ""
) -> None:
    """Refuse keys that would be ignored, unless they hold nothing: SDKs send unused keys as None or empty."""
    n = len(found)
    if n > len(known):
        work.spend_items(field, n - len(known))
    for key in islice(found, n):
        if key not in known and not _is_nothing(found[key]):
            remedy = remedy or f"leave it out; only {', '.join(sorted(known))} mean something here"
            raise InvalidRequest(f"{field} has the key {show(key)}: {remedy}", field=field)


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str | list | tuple | dict) and not value)


def flag(field: str, value: object) -> bool:
    """The value, if it is a bool."""
    if not isinstance(value, bool):
        refuse(field, value, "use True or False")
    return value


def check_pooling(value: object) -> str | None:
    """The value, if it is a way to pool token vectors; None leaves the choice to the model."""
    if value is None:
        return None
    if not is_one_of(value, ("mean", "cls", "last")):
        refuse("pooling", value, "use None, 'mean', 'cls' or 'last'")
    return str.__str__(value)


def nonempty(field: str, text: str) -> str:
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


def json_object(field: str, text: str, budget: ByteBudget) -> dict[str, Any]:
    """The object that a JSON text spells. Its items and texts count for the budget, not the JSON text itself."""
    text = ByteBudget("arguments", budget.work).checked_text(field, text)
    value = json_value(field, text or "{}", budget.work)
    return plain_object(field, value, "use a JSON object, as text or as a dict", budget)


def json_value(field: str, text: str, work: WorkBudget) -> Any:
    """What a JSON text spells, whose length was checked before."""
    work.spend_json(len(text))
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        refuse(field, text, "use valid JSON, without duplicate keys and not nested deeply")


def plain_object(field: str, value: object, remedy: str, budget: ByteBudget) -> dict[str, Any]:
    """A copy of a JSON object, with lists as tuples."""
    return _object(field, mapping(field, value, remedy), budget, 1)


def _plain(field: str, value: object, budget: ByteBudget, depth: int) -> Any:
    """A copy of a JSON value. Each item is counted before it is read, so shared lists cannot explode."""
    if isinstance(value, str):
        return budget.checked_text(field, value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(field, value, budget)
    if isinstance(value, list | tuple):
        n = _spend(field, value, budget, depth)
        return tuple([_plain(field, item, budget, depth + 1) for item in islice(value, n)])
    if isinstance(value, Mapping):
        return _object(field, value, budget, depth)
    return _number(field, scalar(value), budget)


def _object(field: str, value: Mapping[Any, Any], budget: ByteBudget, depth: int) -> dict[str, Any]:
    n = _spend(field, value, budget, depth)
    return {
        budget.checked_text(field, key): _plain(field, item, budget, depth + 1)
        for key, item in islice(value.items(), n)
    }


def _spend(field: str, value: Mapping[Any, Any] | Sequence[Any], budget: ByteBudget, depth: int) -> int:
    """Count as many items as the value says that it has, and return how many; no more may be read."""
    if depth > budget.depth:
        raise InvalidRequest(f"{field} is nested too deeply: use at most {budget.depth} levels", field=field)
    n = len(value)
    budget.work.spend_items(field, n)
    budget.spend(field, _ITEM_BYTES * n)
    return n


def _number(field: str, value: object, budget: ByteBudget) -> bool | int | float:
    budget.spend(field, _NUMBER_BYTES)
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, int) and int.bit_length(value) <= 64:
        return int.__int__(value)
    refuse(field, value, "use JSON data: texts, finite numbers of 64 bits, bools, None, lists and dicts")
