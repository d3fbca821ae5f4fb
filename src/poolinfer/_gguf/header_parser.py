"""The GGUF format: metadata and tensor directory of an open file, every claim checked before it is believed.

llama.cpp aborts the process on some malformed files, so what it asserts is checked here too.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from .header_reader import KEY_MAX, Reader, Unsound

_ENTRIES_MAX = 1 << 17
_TEXT_MAX, _NAME_MAX, _TOKENS_MAX = 1 << 20, 63, 1 << 20
_KEEP_STRINGS, _KEEP_NUMBERS = 64, 512
# Bytes of all keys, and about what an item of a kept array takes.
_KEYS_MAX, _ITEM_BYTES = 1 << 24, 32
# We and llama.cpp look for each of these in texts: how many, their bytes, and those without shared beginnings, of
# which our regex is made. Models that speak have the most: 65,536, 0.7 MB and 0.2 MB.
_SPECIAL_MAX, _SPECIAL_BYTES, _SPECIAL_OWN = 1 << 17, 1 << 20, 1 << 18
# Unknown, control and user-defined tokens.
_SPECIAL = frozenset((2, 3, 4))
_DIMS_MAX, _INT64_MAX = 4, 2**63 - 1
_ALIGNMENT, _TOKENS, _TOKEN_TYPES = "general.alignment", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
# llama.cpp reads as many numbers for each token as this key says, and counts the bytes in 32 bits.
_WIDTH, _WIDTH_MAX = ".embedding_length_out", 1 << 20
_I32_ITEM, _STRING, _ARRAY = 5, 8, 9
# GGUF value type: its name and, if its size is fixed, its struct format.
_TYPES: Mapping[int, tuple[str, str]] = {
    0: ("u8", "B"),
    1: ("i8", "b"),
    2: ("u16", "H"),
    3: ("i16", "h"),
    4: ("u32", "I"),
    5: ("i32", "i"),
    6: ("f32", "f"),
    7: ("bool", "?"),
    10: ("u64", "Q"),
    11: ("i64", "q"),
    12: ("f64", "d"),
}
# ggml tensor types by elements of a block: (type, bytes of a block).
_SIZES: Mapping[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 4), (1, 2), (26, 4), (30, 2)),
    32: ((2, 18), (3, 20), (6, 22), (7, 24), (8, 34), (20, 18), (39, 17)),
    64: ((40, 36), (42, 18)),
    128: ((41, 18),),
    256: (
        *((10, 84), (11, 110), (12, 144), (13, 176), (14, 210), (16, 66), (17, 74)),
        *((18, 98), (19, 50), (21, 110), (22, 82), (23, 136), (29, 56), (34, 54), (35, 66)),
    ),
}
_BLOCKS = {kind: (n, size) for n, sizes in _SIZES.items() for kind, size in sizes}
# Types that ggml knows and cannot compute with: it would abort the process at the first step.
_NO_KERNEL: Mapping[int, str] = {9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 27: "I64", 28: "F64"}
_I32, _FLOATS = 26, (0, 1, 30)
# The only tensor of whole numbers: which experts each token takes.
_EXPERT_TABLE = "ffn_gate_tid2eid"


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """Stands in metadata for an array (or a text) too long to keep.

    Attributes:
        type: name of its item type (``"str"``, ``"f32"``).
        length: how many items (or bytes of text) it has.
    """

    type: str
    length: int


@dataclass(slots=True)
class _Vocabulary:
    """The tokens and their types, which a file may give in either order."""

    tokens: list[bytes] = field(default_factory=list)
    types: tuple[object, ...] = ()

    def check(self) -> None:
        """Refuse more special tokens than can be looked for in texts."""
        special = [token for token, kind in zip(self.tokens, self.types, strict=False) if kind in _SPECIAL]
        size = sum(map(len, special))
        if len(special) > _SPECIAL_MAX or size > _SPECIAL_BYTES or _own_bytes(special) > _SPECIAL_OWN:
            raise Unsound(
                f"has {len(special):,} control and user-defined tokens of {size:,} bytes,"
                " which are too many to be looked for in texts"
            )


def _own_bytes(texts: list[bytes]) -> int:
    """Bytes of texts without what each shares, at its beginning, with the one before it in their order."""
    texts = sorted(texts)
    return sum(map(_own, [b"", *texts], texts))


def _own(before: bytes, text: bytes) -> int:
    return len(text) - next(
        (i for i, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(before)
    )


def parse(fd: int, size: int) -> tuple[dict[str, object], dict[str, tuple[int, ...]]]:
    """Metadata of an open GGUF file, and its tensors' dimensions by their names.

    Raises:
        Unsound: it is no GGUF file, or breaks the format, or claims more than it holds.
        OSError: it cannot be read.
    """
    reader = Reader(fd, size)
    n_tensors, n_pairs = _header(reader)
    metadata = _pairs(reader, n_pairs)
    if n_tensors == 0 and "split.count" not in metadata:
        raise Unsound("holds no tensors")
    alignment = metadata.get(_ALIGNMENT, 32)
    tensors = _tensors(reader, n_tensors, alignment if isinstance(alignment, int) else 32)
    return metadata, tensors


def _header(reader: Reader) -> tuple[int, int]:
    magic = reader.take(4, "its magic")
    if magic != b"GGUF":
        raise Unsound(f"is not a GGUF file: it begins with {magic!r}")
    version = reader.u32("its version")
    if version and not version & 0xFFFF:
        raise Unsound("is a big-endian GGUF file; convert it with gguf-convert-endian")
    if version not in (2, 3):
        raise Unsound(f"is of GGUF version {version}; 2 and 3 can be read")
    n_tensors = _entries(reader, "tensors")
    n_pairs = _entries(reader, "metadata pairs")
    reader.need(14 * n_pairs, "its metadata")
    reader.need(24 * n_tensors, "its tensor directory")
    return n_tensors, n_pairs


def _entries(reader: Reader, what: str) -> int:
    n = reader.u64(f"the number of {what}")
    if n > _ENTRIES_MAX:
        raise Unsound(f"claims {n:,} {what}; at most {_ENTRIES_MAX:,} are allowed")
    return n


def _pairs(reader: Reader, count: int) -> dict[str, object]:
    metadata: dict[str, object] = {}
    vocabulary = _Vocabulary()
    key_bytes = 0
    for i in range(count):
        raw = reader.text(KEY_MAX, f"key {i}")
        key_bytes += len(raw)
        if key_bytes > _KEYS_MAX:
            raise Unsound(f"has keys of more than {_KEYS_MAX:,} bytes together")
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            raise Unsound(f"has a key that is not UTF-8: {raw[:60]!r}") from None
        if not key or key in metadata:
            raise Unsound(f"has an empty or duplicate key {key[:60]!r}")
        metadata[key] = _value(reader, key, vocabulary)
        _check_numbers(key, metadata[key])
    vocabulary.check()
    return metadata


def _check_numbers(key: str, value: object) -> None:
    """Refuse what ggml aborts at: the number that a norm adds to a sum of squares, vectors wider than any model."""
    for number in value if isinstance(value, tuple) else (value,):
        if key.endswith("epsilon") and isinstance(number, float) and not 0 <= number < math.inf:
            raise Unsound(f"is malformed: {key[:60]!r} is {number}; use a finite number that is not negative")
        if key.endswith(_WIDTH) and isinstance(number, int) and number > _WIDTH_MAX:
            raise Unsound(f"is malformed: {key[:60]!r} is {number:,}; at most {_WIDTH_MAX:,} are allowed")


def _value(reader: Reader, key: str, vocabulary: _Vocabulary) -> object:
    what = f"the value of {key[:60]!r}"
    kind = reader.u32(what)
    if key == _ALIGNMENT:
        return _alignment(reader, kind, what)
    if kind == _ARRAY:
        return _array(reader, key, vocabulary, what)
    if kind == _STRING:
        return _text(reader, what)
    return _fixed(reader, _type(kind, what)[1], 1, what)[0]


def _alignment(reader: Reader, kind: int, what: str) -> int:
    if kind != 4:
        raise Unsound(f"is malformed: {what} is not an u32")
    value = reader.u32(what)
    if value == 0 or value & (value - 1):
        raise Unsound(f"is malformed: {what} is {value}, not a power of two")
    return value


def _text(reader: Reader, what: str) -> object:
    n = reader.u64(what)
    if n > _TEXT_MAX or not reader.keeps(n):
        reader.skip(n, what)
        return ArrayInfo("str", n)
    return reader.take(n, what).decode(errors="replace")


def _fixed(reader: Reader, code: str, count: int, what: str) -> tuple[object, ...]:
    size = struct.calcsize(f"<{code}") * count
    return struct.unpack(f"<{count}{code}", reader.take(size, what))


def _type(kind: int, what: str) -> tuple[str, str]:
    found = _TYPES.get(kind)
    if found is None:
        raise Unsound(f"is malformed: {what} has the unknown type {kind}")
    return found


def _array(reader: Reader, key: str, vocabulary: _Vocabulary, what: str) -> object:
    kind, count = reader.u32(what), reader.u64(what)
    few = _KEEP_STRINGS if kind == _STRING else _KEEP_NUMBERS
    keep = count <= few and reader.keeps(_ITEM_BYTES * count)
    if key == _TOKENS and kind == _STRING:
        vocabulary.tokens = _tokens(reader, count, what)
        return ArrayInfo("str", count)
    if kind == _STRING:
        if keep:
            return tuple(_text(reader, what) for _ in range(count))
        reader.walk(count, what)
        return ArrayInfo("str", count)
    name, code = _type(kind, what)
    types = key == _TOKEN_TYPES and kind == _I32_ITEM
    if types and count > _TOKENS_MAX:
        raise Unsound(f"claims the types of {count:,} tokens; at most {_TOKENS_MAX:,} are allowed")
    if not keep and not types:
        reader.skip(struct.calcsize(f"<{code}") * count, what)
        return ArrayInfo(name, count)
    numbers = _fixed(reader, code, count, what)
    if types:
        vocabulary.types = numbers
    return numbers if keep else ArrayInfo(name, count)


def _tokens(reader: Reader, count: int, what: str) -> list[bytes]:
    """The vocabulary; llama.cpp aborts when one comes twice (it renames empty ones)."""
    if not 0 < count <= _TOKENS_MAX:
        raise Unsound(f"claims {count:,} tokens; 1 to {_TOKENS_MAX:,} are allowed")
    seen: list[bytes] = []
    reader.walk(count, what, seen)
    distinct = set(seen)
    empty = seen.count(b"")
    if len(distinct) - (b"" in distinct) != count - empty:
        raise Unsound("holds the same token twice in its vocabulary")
    return seen


def _tensors(reader: Reader, count: int, alignment: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    end = 0
    for i in range(count):
        # Names that are not UTF-8 stay different from each other.
        name = reader.text(_NAME_MAX, f"the name of tensor {i}").decode(errors="backslashreplace")
        what = f"tensor {name!r}"
        if name in found:
            raise Unsound(f"holds {what} twice")
        found[name] = dims = _dimensions(reader, what)
        kind = reader.u32(what)
        _check_kind(kind, name, what)
        size = _tensor_bytes(kind, dims, what)
        offset = reader.u64(what)
        # llama.cpp wants tensors packed, in order: no gaps, no overlaps, all aligned.
        if offset != _pad(end, alignment):
            raise Unsound(f"is malformed: {what} is at offset {offset:,}, not at {_pad(end, alignment):,}")
        end = offset + size
    needed = _pad(reader.pos, alignment) + end
    if count and needed > reader.size:
        raise Unsound(f"is truncated: it needs {needed:,} bytes, it has {reader.size:,}")
    return found


def _dimensions(reader: Reader, what: str) -> tuple[int, ...]:
    n_dims = reader.u32(what)
    if n_dims > _DIMS_MAX:
        raise Unsound(f"is malformed: {what} has {n_dims} dimensions; at most {_DIMS_MAX} are allowed")
    dims = tuple(reader.u64(what) for _ in range(n_dims))
    elements = 1
    for dim in dims:
        elements *= dim
        if not 0 < dim <= _INT64_MAX or elements > _INT64_MAX:
            raise Unsound(f"is malformed: {what} has impossible dimensions {list(dims)}")
    return dims


def _check_kind(kind: int, name: str, what: str) -> None:
    """Refuse a tensor that no kernel could compute with."""
    if kind in _NO_KERNEL:
        raise Unsound(f"cannot be used: {what} is of type {_NO_KERNEL[kind]}, which nothing computes with")
    if kind == _I32 and _EXPERT_TABLE not in name:
        raise Unsound(f"cannot be used: {what} is of type I32; weights are no whole numbers")
    if kind not in _FLOATS and ("norm" in name or name.endswith(".bias")):
        raise Unsound(f"cannot be used: {what} is quantised (type {kind}); norms and biases never are")


def _tensor_bytes(kind: int, dims: tuple[int, ...], what: str) -> int:
    block = _BLOCKS.get(kind)
    if block is None:
        raise Unsound(f"cannot be read: {what} has the unknown type {kind}")
    per_block, block_bytes = block
    if (dims[0] if dims else 1) % per_block:
        raise Unsound(f"is malformed: rows of {what} are not whole blocks of {per_block}")
    return math.prod(dims) // per_block * block_bytes


def _pad(n: int, alignment: int) -> int:
    return (n + alignment - 1) // alignment * alignment
