"""The names that JSON schemas have for the types of values."""

from __future__ import annotations

from collections.abc import Mapping


def json_type(value: object) -> str:
    """The name of a value's type in JSON."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "object" if isinstance(value, Mapping) else "array"
