"""The types of numbers that a context may hold keys and values in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

#: llama.cpp's names of these types.
KVType: TypeAlias = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
#: Of each type, the numbers in a block and its bytes (ggml's `block_*`).
KV_BLOCKS: Mapping[str, tuple[int, int]] = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q5_1": (32, 24),
    "q5_0": (32, 22),
    "q4_1": (32, 20),
    "q4_0": (32, 18),
    "iq4_nl": (32, 18),
}


def is_quantized(kind: str) -> bool:
    """Whether numbers of a type are stored in blocks with a common scale."""
    return KV_BLOCKS[kind][0] > 1


def kv_bytes(numbers: int, kind: str) -> int:
    """Bytes of so many numbers of a type, rounded up."""
    block, size = KV_BLOCKS[kind]
    return -(-numbers * size // block)
