"""The tensor directory in a model file's header: names, dimensions, types and offsets, each checked.

llama.cpp aborts the process on some malformed directories, and ggml at tensors that it cannot compute with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .header_reader import HeaderReader, Unsound

_MAX_NAME_BYTES, _MAX_DIMENSIONS, _MAX_INT64 = 63, 4, 2**63 - 1
# ggml tensor types by elements of a block: (type, bytes of a block).
_TYPES_BY_BLOCK: Mapping[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 4), (1, 2), (26, 4), (30, 2)),
    32: ((2, 18), (3, 20), (6, 22), (7, 24), (8, 34), (20, 18), (39, 17)),
    64: ((40, 36), (42, 18)),
    128: ((41, 18),),
    256: (
        *((10, 84), (11, 110), (12, 144), (13, 176), (14, 210), (16, 66), (17, 74)),
        *((18, 98), (19, 50), (21, 110), (22, 82), (23, 136), (29, 56), (34, 54), (35, 66)),
    ),
}
# Elements and bytes of a block, by tensor type.
_BLOCKS = {kind: (n, size) for n, sizes in _TYPES_BY_BLOCK.items() for kind, size in sizes}
# Types that ggml knows and cannot compute with: it would abort the process at the first step.
_NO_KERNEL: Mapping[int, str] = {9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 27: "I64", 28: "F64"}
_I32, _FLOATS = 26, (0, 1, 30)
# The only tensor of whole numbers: it says which experts each token takes.
_EXPERT_TABLE = "ffn_gate_tid2eid"


def read_tensors(reader: HeaderReader, count: int, alignment: int) -> dict[str, tuple[int, ...]]:
    """Read the directory: the dimensions of each tensor by its name.

    Args:
        reader: where the directory begins.
        count: how many tensors there are.
        alignment: what tensors' offsets are multiples of, in bytes.

    Raises:
        Unsound: a tensor cannot be computed with, or the file does not hold what the directory says.
    """
    found: dict[str, tuple[int, ...]] = {}
    end = 0
    for i in range(count):
        # Names that are not UTF-8 stay different from each other.
        name = reader.text(_MAX_NAME_BYTES, f"the name of tensor {i}").decode(errors="backslashreplace")
        what = f"tensor {name!r}"
        if name in found:
            raise Unsound(f"holds {what} twice")
        found[name] = dims = _dimensions(reader, what)
        kind = reader.u32(what)
        _check_type(kind, name, what)
        size = _tensor_bytes(kind, dims, what)
        offset = reader.u64(what)
        # llama.cpp wants tensors packed, in order: no gaps, no overlaps, all aligned.
        if offset != _align(end, alignment):
            raise Unsound(f"is malformed: {what} is at offset {offset:,}, not at {_align(end, alignment):,}")
        end = offset + size
    needed = _align(reader.pos, alignment) + end
    if count and needed > reader.size:
        raise Unsound(f"is truncated: it needs {needed:,} bytes, it has {reader.size:,}")
    return found


def _dimensions(reader: HeaderReader, what: str) -> tuple[int, ...]:
    n_dims = reader.u32(what)
    if n_dims > _MAX_DIMENSIONS:
        raise Unsound(f"is malformed: {what} has {n_dims} dimensions; at most {_MAX_DIMENSIONS} are allowed")
    dims = tuple(reader.u64(what) for _ in range(n_dims))
    elements = 1
    for dim in dims:
        elements *= dim
        if not 0 < dim <= _MAX_INT64 or elements > _MAX_INT64:
            raise Unsound(f"is malformed: {what} has impossible dimensions {list(dims)}")
    return dims


def _check_type(kind: int, name: str, what: str) -> None:
    """Refuse a tensor whose type no kernel computes with, or not in its place."""
    if kind in _NO_KERNEL:
        raise Unsound(f"cannot be used: {what} is of type {_NO_KERNEL[kind]}, which nothing computes with")
    if kind == _I32 and _EXPERT_TABLE not in name:
        raise Unsound(f"cannot be used: {what} is of type I32; weights are no whole numbers")
    if kind not in _FLOATS and ("norm" in name or name.endswith(".bias")):
        raise Unsound(f"cannot be used: {what} is quantised (type {kind}); norms and biases never are")


def _tensor_bytes(kind: int, dims: tuple[int, ...], what: str) -> int:
    """Bytes that a tensor takes in the file."""
    block = _BLOCKS.get(kind)
    if block is None:
        raise Unsound(f"cannot be read: {what} has the unknown type {kind}")
    per_block, block_bytes = block
    if (dims[0] if dims else 1) % per_block:
        raise Unsound(f"is malformed: rows of {what} are not whole blocks of {per_block}")
    return math.prod(dims) // per_block * block_bytes


def _align(n: int, alignment: int) -> int:
    return (n + alignment - 1) // alignment * alignment
