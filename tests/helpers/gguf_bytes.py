"""GGUF files byte by byte, sound or with whatever lies a test asks for."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest

from poolinfer._data.errors import ModelError
from poolinfer._gguf.model_file import read_model_file

ALIGNMENT = 32


def u32(n: int) -> bytes:
    return struct.pack("<I", n & 0xFFFFFFFF)


def u64(n: int) -> bytes:
    return struct.pack("<Q", n & 0xFFFFFFFFFFFFFFFF)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return u64(len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + u32(kind) + value


def string(key: str, value: str) -> bytes:
    return pair(key, 8, text(value))


def number(key: str, value: int) -> bytes:
    return pair(key, 4, u32(value))


def array(key: str, kind: int, count: int, items: bytes) -> bytes:
    return pair(key, 9, u32(kind) + u64(count) + items)


def strings(key: str, items: list[str]) -> bytes:
    return array(key, 8, len(items), b"".join(map(text, items)))


def tensor(name: str | bytes, dims: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + u32(len(dims)) + b"".join(map(u64, dims)) + u32(kind) + u64(offset)


PAIRS = [string("general.architecture", "llama"), string("tokenizer.ggml.model", "gpt2")]
TENSORS = [tensor("a", [32, 2]), tensor("b", [32], offset=256)]
DATA = 256 + 128


def gguf(
    pairs: list[bytes] = PAIRS,
    tensors: list[bytes] = TENSORS,
    *,
    data: int = DATA,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_pairs: int | None = None,
    n_tensors: int | None = None,
) -> bytes:
    """A GGUF file, with whatever lies are asked for."""
    head = magic + u32(version)
    head += u64(len(tensors) if n_tensors is None else n_tensors)
    head += u64(len(pairs) if n_pairs is None else n_pairs)
    head += b"".join(pairs) + b"".join(tensors)
    return head + b"\0" * (-len(head) % ALIGNMENT) + b"\0" * data


def refused(path: Any, within: float = 1.0) -> str:
    began = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        read_model_file(path)
    assert time.perf_counter() - began < within
    return caught.value.message
