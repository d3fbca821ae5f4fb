"""The GGUF format: metadata and tensor directory of an open file, every claim checked before it is believed.

llama.cpp aborts the process on some malformed files, so what it asserts is checked here too.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

_WINDOW = 1 << 20
_HEADER_MAX = 1 << 30
_ENTRIES_MAX = 1 << 17
_KEY_MAX, _TEXT_MAX, _NAME_MAX = 65_535, 1 << 20, 63
_STRINGS_MAX, _TOKENS_MAX = 1 << 22, 1 << 20
_KEEP_STRINGS, _KEEP_NUMBERS = 64, 512
_DIMS_MAX, _INT64_MAX = 4, 2**63 - 1
_ALIGNMENT, _TOKENS = "general.alignment", "tokenizer.ggml.tokens"
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
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
    1: ((0, 4), (1, 2), (24, 1), (25, 2), (26, 4), (27, 8), (28, 8), (30, 2)),
    32: ((2, 18), (3, 20), (6, 22), (7, 24), (8, 34), (9, 36), (20, 18), (39, 17)),
    64: ((40, 36), (42, 18)),
    128: ((41, 18),),
    256: (
        *((10, 84), (11, 110), (12, 144), (13, 176), (14, 210), (15, 292), (16, 66), (17, 74)),
        *((18, 98), (19, 50), (21, 110), (22, 82), (23, 136), (29, 56), (34, 54), (35, 66)),
    ),
}
_BLOCKS = {kind: (n, size) for n, sizes in _SIZES.items() for kind, size in sizes}


class Unsound(Exception):
    """The file is not a sound GGUF file; the message says why."""


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """Stands in metadata for an array (or a text) too long to keep.

    Attributes:
        type: name of its item type (``"str"``, ``"f32"``).
        length: how many items (or bytes of text) it has.
    """

    type: str
    length: int


def parse(fd: int, size: int) -> tuple[dict[str, object], dict[str, tuple[int, ...]]]:
    """Metadata of an open GGUF file, and its tensors' dimensions by their names.

    Raises:
        Unsound: it is no GGUF file, or breaks the format, or claims more than it holds.
        OSError: it cannot be read.
    """
    reader = _Reader(fd, size)
    n_tensors, n_pairs = _header(reader)
    metadata = _pairs(reader, n_pairs)
    if n_tensors == 0 and "split.count" not in metadata:
        raise Unsound("holds no tensors")
    alignment = metadata.get(_ALIGNMENT, 32)
    tensors = _tensors(reader, n_tensors, alignment if isinstance(alignment, int) else 32)
    return metadata, tensors


class _Reader:
    """Little-endian values of a file, through a window that moves forward; never past the end."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._window = b""
        self._base = 0
        self.size = size
        self.pos = 0
        self.strings = 0

    def need(self, n: int, what: str) -> None:
        """Refuse unless the file has that many bytes more."""
        if n > self.size - self.pos:
            raise Unsound(f"is truncated: {what} needs {self.pos + n:,} bytes, it has {self.size:,}")
        if self.pos + n > _HEADER_MAX:
            raise Unsound(f"has a header of more than {_HEADER_MAX:,} bytes ({what})")

    def skip(self, n: int, what: str) -> None:
        """Step over some bytes."""
        self.need(n, what)
        self.pos += n

    def take(self, n: int, what: str) -> bytes:
        """The next bytes."""
        self.need(n, what)
        start = self.pos - self._base
        if start + n > len(self._window):
            self._fill(max(n, _WINDOW))
            start = 0
        if n > len(self._window) - start:
            raise Unsound(f"became shorter while {what} was read")
        self.pos += n
        return self._window[start : start + n]

    def _fill(self, n: int) -> None:
        os.lseek(self._fd, self.pos, os.SEEK_SET)
        parts = []
        while n > 0 and (part := os.read(self._fd, n)):
            parts.append(part)
            n -= len(part)
        self._window = b"".join(parts)
        self._base = self.pos

    def u32(self, what: str) -> int:
        """The next 32-bit value."""
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        """The next 64-bit value."""
        return int(_U64.unpack(self.take(8, what))[0])

    def text(self, longest: int, what: str) -> bytes:
        """The next string."""
        n = self.u64(what)
        if n > longest:
            raise Unsound(f"has {what} of {n:,} bytes; at most {longest:,} are allowed")
        return self.take(n, what)

    def walk(self, count: int, what: str, seen: list[bytes] | None = None) -> None:
        """Step over strings, noting them in `seen` if given."""
        self.need(8 * count, what)
        self.strings += count
        if self.strings > _STRINGS_MAX:
            raise Unsound(f"has more than {_STRINGS_MAX:,} texts in its metadata ({what})")
        while count:
            if seen is None:
                self.skip(self.u64(what), what)
            else:
                seen.append(self.text(_KEY_MAX, what))
            count -= 1
            count -= self._walk_window(count, seen)

    def _walk_window(self, count: int, seen: list[bytes] | None) -> int:
        """Step over the strings that are wholly in the window: the hot loop, hence locals."""
        unpack, window, end = _U64.unpack_from, self._window, len(self._window)
        at = self.pos - self._base
        walked = 0
        while walked < count and at + 8 <= end:
            after = at + 8 + unpack(window, at)[0]
            if after > end:
                break
            if seen is not None:
                seen.append(window[at + 8 : after])
            at = after
            walked += 1
        self.pos = self._base + at
        return walked


def _header(reader: _Reader) -> tuple[int, int]:
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


def _entries(reader: _Reader, what: str) -> int:
    n = reader.u64(f"the number of {what}")
    if n > _ENTRIES_MAX:
        raise Unsound(f"claims {n:,} {what}; at most {_ENTRIES_MAX:,} are allowed")
    return n


def _pairs(reader: _Reader, count: int) -> dict[str, object]:
    metadata: dict[str, object] = {}
    for i in range(count):
        raw = reader.text(_KEY_MAX, f"key {i}")
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            raise Unsound(f"has a key that is not UTF-8: {raw[:60]!r}") from None
        if not key or key in metadata:
            raise Unsound(f"has an empty or duplicate key {key[:60]!r}")
        metadata[key] = _value(reader, key)
    return metadata


def _value(reader: _Reader, key: str) -> object:
    what = f"the value of {key[:60]!r}"
    kind = reader.u32(what)
    if key == _ALIGNMENT:
        return _alignment(reader, kind, what)
    if kind == _ARRAY:
        return _array(reader, key, what)
    if kind == _STRING:
        return _text(reader, what)
    return _fixed(reader, kind, 1, what)[0]


def _alignment(reader: _Reader, kind: int, what: str) -> int:
    if kind != 4:
        raise Unsound(f"is malformed: {what} is not an u32")
    value = reader.u32(what)
    if value == 0 or value & (value - 1):
        raise Unsound(f"is malformed: {what} is {value}, not a power of two")
    return value


def _text(reader: _Reader, what: str) -> object:
    n = reader.u64(what)
    if n > _TEXT_MAX:
        reader.skip(n, what)
        return ArrayInfo("str", n)
    return reader.take(n, what).decode(errors="replace")


def _fixed(reader: _Reader, kind: int, count: int, what: str) -> tuple[object, ...]:
    name, code = _type(kind, what)
    size = struct.calcsize(f"<{code}") * count
    if count > _KEEP_NUMBERS:
        reader.skip(size, what)
        return (ArrayInfo(name, count),)
    return struct.unpack(f"<{count}{code}", reader.take(size, what))


def _type(kind: int, what: str) -> tuple[str, str]:
    found = _TYPES.get(kind)
    if found is None:
        raise Unsound(f"is malformed: {what} has the unknown type {kind}")
    return found


def _array(reader: _Reader, key: str, what: str) -> object:
    kind, count = reader.u32(what), reader.u64(what)
    if kind != _STRING:
        found = _fixed(reader, kind, count, what)
        return found[0] if count > _KEEP_NUMBERS else found
    if key == _TOKENS:
        _tokens(reader, count, what)
    elif count <= _KEEP_STRINGS:
        return tuple(_text(reader, what) for _ in range(count))
    else:
        reader.walk(count, what)
    return ArrayInfo("str", count)


def _tokens(reader: _Reader, count: int, what: str) -> None:
    """Walk the vocabulary; llama.cpp aborts when a token comes twice (it renames empty ones)."""
    if not 0 < count <= _TOKENS_MAX:
        raise Unsound(f"claims {count:,} tokens; 1 to {_TOKENS_MAX:,} are allowed")
    seen: list[bytes] = []
    reader.walk(count, what, seen)
    distinct = set(seen)
    empty = seen.count(b"")
    if len(distinct) - (b"" in distinct) != count - empty:
        raise Unsound("holds the same token twice in its vocabulary")


def _tensors(reader: _Reader, count: int, alignment: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    end = 0
    for i in range(count):
        # Names that are not UTF-8 stay different from each other.
        name = reader.text(_NAME_MAX, f"the name of tensor {i}").decode(errors="backslashreplace")
        what = f"tensor {name!r}"
        if name in found:
            raise Unsound(f"holds {what} twice")
        found[name] = dims = _dimensions(reader, what)
        size = _tensor_bytes(reader.u32(what), dims, what)
        offset = reader.u64(what)
        # llama.cpp wants tensors packed, in order: no gaps, no overlaps, all aligned.
        if offset != _pad(end, alignment):
            raise Unsound(f"is malformed: {what} is at offset {offset:,}, not at {_pad(end, alignment):,}")
        end = offset + size
    needed = _pad(reader.pos, alignment) + end
    if count and needed > reader.size:
        raise Unsound(f"is truncated: it needs {needed:,} bytes, it has {reader.size:,}")
    return found


def _dimensions(reader: _Reader, what: str) -> tuple[int, ...]:
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
