"""Values of metadata, as a writer of model files takes them."""

from __future__ import annotations

import gguf


def add_value(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    """Add a value under its key, with the type that suits it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, list | tuple):
        writer.add_array(key, list(value))
    else:
        raise TypeError(f"{key}: {value!r}")
