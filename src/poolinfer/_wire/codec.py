"""Jobs and events as bytes and back: strict JSON, data only (law L9, promise P9).

A dataclass becomes ``{"!": name, field: value, ...}`` without the fields that have their default, bytes
``{"!b": base64}``, and a mapping ``{"!m": [[key, value], ...]}``. Sequences come back as tuples. Nothing else is
encoded, and nothing that is decoded can execute.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, NoReturn

from .._data.events import Done, Failed, Job, Started
from .._data.requests import Chat, Embed, Raw
from .._data.results import Chunk, Embedding, Response, Timings, TokenLogprob, ToolCall, Usage

_TYPES: dict[str, type[Any]] = {}
#: Of every class that travels: its name, and its fields with their defaults (`_NONE` where there is none).
_FIELDS: dict[type[Any], tuple[str, tuple[tuple[str, object], ...]]] = {}
_NONE = object()
_PLAIN = frozenset((str, int, float, bool, type(None)))


def register(*classes: type[Any]) -> None:
    """Let more frozen dataclasses travel; called once, by the module that defines what is sent."""
    for cls in classes:
        _TYPES[cls.__name__] = cls
        _FIELDS[cls] = cls.__name__, tuple((item.name, _default(item)) for item in fields(cls))


def _default(item: Field[Any]) -> object:
    plain = item.default is None or type(item.default) in _PLAIN or item.default == ()
    return item.default if plain else _NONE


register(Job, Started, Done, Failed, Chat, Raw, Embed, Chunk, Response)
register(Embedding, Usage, Timings, ToolCall, TokenLogprob)


class WireError(ValueError):
    """Bytes that are not an encoding of our data, or data that cannot be encoded."""


def encode(value: object) -> bytes:
    """Encode a job, an event or their parts.

    Raises:
        WireError: the value holds something that is not plain data (or a NaN).
    """
    try:
        return json.dumps(_pack(value), allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise WireError(f"cannot encode: {error}") from error


def decode(data: bytes) -> Any:
    """Decode what `encode` made.

    Raises:
        WireError: anything else.
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
        # Of equal type, too: 0, 0.0 and False are equal, and not the same.
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
