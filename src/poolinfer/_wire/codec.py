"""Jobs and events as bytes and back: strict JSON, data only (law L9, promise P9).

A dataclass becomes ``{"!": name, field: value, ...}`` without the fields that have their default. Bytes become
``{"!b": base64}``, and a mapping becomes ``{"!m": [[key, value], ...]}``. Sequences come back as tuples.
Nothing else is encoded, and nothing that is decoded can execute.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, NoReturn, get_args, get_type_hints

from .._data.events import Event, Job

#: The classes that travel, by name.
_TYPES: dict[str, type[Any]] = {}
#: Of each of these classes: its name, and its fields with their defaults (`_NONE` where there is none).
_FIELDS: dict[type[Any], tuple[str, tuple[tuple[str, object], ...]]] = {}
_NONE = object()
_PLAIN = frozenset((str, int, float, bool, type(None)))


def register(*hints: Any) -> None:
    """Let dataclasses travel: all that are part of a type, and all that their fields may hold.

    So a new field, a new kind of request or a new event travels as soon as the alias names it.
    """
    for hint in hints:
        if not is_dataclass(hint):
            register(*get_args(hint))
        elif hint not in _FIELDS:
            cls: Any = hint
            if _TYPES.setdefault(cls.__name__, cls) is not cls:
                raise TypeError(f"two classes that travel are called {cls.__name__}")
            _FIELDS[cls] = cls.__name__, tuple((item.name, _default(item)) for item in fields(cls))
            register(*get_type_hints(cls).values())


def _default(item: Field[Any]) -> object:
    plain = item.default is None or type(item.default) in _PLAIN or item.default == ()
    return item.default if plain else _NONE


register(Job, Event)


class WireError(ValueError):
    """Bytes that are no encoding of data that travels, or data that cannot be encoded."""


def encode(value: object) -> bytes:
    """Encode a job, an event or a part of these.

    Raises:
        WireError: the value holds something that is not plain data, or a number that is not finite.
    """
    try:
        return json.dumps(_pack(value), allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise WireError(f"cannot encode: {error}") from error


def decode(data: bytes) -> Any:
    """Decode what `encode` made.

    Raises:
        WireError: the bytes are something else.
    """
    try:
        return _unpack(json.loads(data.decode(), parse_constant=_refuse_constant))
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"cannot decode: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise WireError(f"{name} is not allowed")


def _pack(value: object) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in _FIELDS:
        return _pack_fields(value, *_FIELDS[kind])
    if isinstance(value, list | tuple):
        return [item if type(item) in _PLAIN else _pack(item) for item in value]
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        return {"!b": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"!m": [[_pack(key), _pack(item)] for key, item in value.items()]}
    raise WireError(f"{kind.__name__} is not plain data")


def _pack_fields(value: object, name: str, items: tuple[tuple[str, object], ...]) -> dict[str, object]:
    packed: dict[str, object] = {"!": name}
    for field, default in items:
        item = getattr(value, field)
        # The types must be equal, too: 0, 0.0 and False are equal, and not the same.
        if item is default or (item == default and type(item) is type(default)):
            continue
        packed[field] = item if type(item) in _PLAIN else _pack(item)
    return packed


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([item if type(item) in _PLAIN else _unpack(item) for item in value])
    if not isinstance(value, dict):
        return value
    cls = _TYPES.get(value.pop("!", None))
    if cls is not None:
        return cls(**{name: item if type(item) in _PLAIN else _unpack(item) for name, item in value.items()})
    if value.keys() == {"!b"}:
        try:
            return base64.b64decode(value["!b"], validate=True)
        except binascii.Error as error:
            raise WireError(f"bad bytes: {error}") from error
    if value.keys() == {"!m"}:
        return {_unpack(key): _unpack(item) for key, item in value["!m"]}
    raise WireError("unknown type")
