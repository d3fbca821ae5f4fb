"""Jobs and events as bytes and back: strict JSON, data only (law L9, promise P9).

A dataclass becomes ``{"!": name, field: value, ...}``, bytes ``{"!b": base64}``, and a mapping
``{"!m": [[key, value], ...]}``. Sequences come back as tuples. Nothing else is encoded, and nothing that
is decoded can execute.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NoReturn

from ._events import Done, Failed, Job, Started
from ._requests import Chat, Embed, Raw
from ._results import Chunk, Embedding, Response, Timings, TokenLogprob, ToolCall, Usage

_TYPES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        *(Job, Started, Done, Failed, Chat, Raw, Embed, Chunk, Response),
        *(Embedding, Usage, Timings, ToolCall, TokenLogprob),
    )
}


def register(*classes: type[Any]) -> None:
    """Let more frozen dataclasses travel; called once, by the module that defines what is sent."""
    _TYPES.update((cls.__name__, cls) for cls in classes)


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
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        return {"!b": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [_pack(item) for item in value]
    if isinstance(value, Mapping):
        return {"!m": [[_pack(key), _pack(item)] for key, item in value.items()]}
    name = type(value).__name__
    if _TYPES.get(name) is not type(value):
        raise WireError(f"{name} is not plain data")
    packed = {item.name: _pack(getattr(value, item.name)) for item in fields(_TYPES[name])}
    return {"!": name, **packed}


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.keys() == {"!b"}:
        try:
            return base64.b64decode(value["!b"], validate=True)
        except binascii.Error as error:
            raise WireError(f"bad bytes: {error}") from error
    if value.keys() == {"!m"}:
        return {_unpack(key): _unpack(item) for key, item in value["!m"]}
    cls = _TYPES.get(value.pop("!", None))
    if cls is None:
        raise WireError("unknown type")
    return cls(**{name: _unpack(item) for name, item in value.items()})
