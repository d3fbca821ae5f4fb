"""A sound model file, taken apart into pairs and tensors that a test may change, and put together again."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import Any

from gguf_bytes import ALIGNMENT, text, u32, u64

STRING, ARRAY = 8, 9
CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
# Bytes of a block and its elements, by type; the ones that ggml knows, and a few that it does not.
BLOCKS = {
    **dict.fromkeys((24, 31), (1, 1)),
    **dict.fromkeys((1, 25, 30), (2, 1)),
    **dict.fromkeys((0, 26, 36, 43), (4, 1)),
    **dict.fromkeys((27, 28), (8, 1)),
    **dict.fromkeys((2, 20), (18, 32)),
    **dict.fromkeys((3, 4), (20, 32)),
}
BLOCKS.update({6: (22, 32), 7: (24, 32), 8: (34, 32), 9: (36, 32), 39: (17, 32), 40: (36, 64), 42: (18, 64)})
BLOCKS.update({10: (84, 256), 12: (144, 256), 14: (210, 256), 15: (292, 256), 41: (18, 128)})


@dataclass
class Pair:
    """One key and its value: packed, a text, or an item type and a list of packed items or texts."""

    key: bytes
    kind: int
    value: Any
    items: int = 0

    def pack(self) -> bytes:
        if self.kind == STRING:
            value = text(self.value)
        elif self.kind == ARRAY:
            parts = [text(item) if self.items == STRING else item for item in self.value]
            value = u32(self.items) + u64(len(parts)) + b"".join(parts)
        else:
            value = self.value
        return text(self.key) + u32(self.kind) + value


@dataclass
class Tensor:
    """One entry of the tensor directory."""

    name: bytes
    dims: list[int]
    kind: int
    offset: int

    @property
    def size(self) -> int:
        size, elements = BLOCKS.get(self.kind, (4, 1))
        return math.prod(self.dims) // elements * size

    def pack(self) -> bytes:
        dims = b"".join(map(u64, self.dims))
        return text(self.name) + u32(len(self.dims)) + dims + u32(self.kind) + u64(self.offset)


@dataclass
class Header:
    """A whole model file, taken apart.

    Attributes:
        notes: what was changed.
        repaired: whether the tensors' offsets follow from their sizes.
    """

    pairs: list[Pair]
    tensors: list[Tensor]
    data: bytes
    notes: list[str] = field(default_factory=list)
    repaired: bool = True

    @property
    def architecture(self) -> bytes:
        return next(
            (p.value for p in self.pairs if p.key == b"general.architecture" and p.kind == STRING), b"llama"
        )

    def pack(self) -> bytes:
        if self.repaired:
            end = 0
            for tensor in self.tensors:
                tensor.offset = -(-end // ALIGNMENT) * ALIGNMENT
                end = tensor.offset + tensor.size
        head = b"GGUF" + u32(3) + u64(len(self.tensors)) + u64(len(self.pairs))
        head += b"".join(pair.pack() for pair in self.pairs)
        head += b"".join(tensor.pack() for tensor in self.tensors)
        last = max((t.offset + t.size for t in self.tensors), default=0) if self.repaired else 0
        missing = last - len(self.data) if 0 < last < 1 << 24 else 0
        return (
            head + b"\0" * (-len(head) % ALIGNMENT) + self.data + self.data[:64] * -(-max(0, missing) // 64)
        )


def read(data: bytes) -> Header:
    """A sound file, taken apart."""
    at = 8

    def take(code: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{code}", data, at)
        at += struct.calcsize(code)
        return int(value)

    def raw(n: int) -> bytes:
        nonlocal at
        at += n
        return data[at - n : at]

    def value(kind: int) -> bytes:
        return raw(take("Q")) if kind == STRING else raw(struct.calcsize(CODES[kind]))

    n_tensors, n_pairs = take("Q"), take("Q")
    pairs, tensors = [], []
    for _ in range(n_pairs):
        key, kind = raw(take("Q")), take("I")
        if kind == ARRAY:
            items, count = take("I"), take("Q")
            pairs.append(Pair(key, kind, [value(items) for _ in range(count)], items))
        else:
            pairs.append(Pair(key, kind, value(kind)))
    for _ in range(n_tensors):
        name = raw(take("Q"))
        dims = [take("Q") for _ in range(take("I"))]
        tensors.append(Tensor(name, dims, take("I"), take("Q")))
    return Header(pairs, tensors, data[-(-at // ALIGNMENT) * ALIGNMENT :])
