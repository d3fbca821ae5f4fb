"""The metadata in a model file's header: keys and values, each checked before it is believed."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from .header_reader import MAX_KEY_BYTES, HeaderReader, Unsound
from .vocabulary import TOKEN_TYPES_KEY, TOKENS_KEY, Vocabulary, check_type_count, read_tokens

#: The key of what tensors' offsets are multiples of.
ALIGNMENT_KEY = "general.alignment"
_MAX_TEXT_BYTES = 1 << 20
# Items of the longest arrays that are kept, and about what an item takes in memory.
_KEPT_TEXTS, _KEPT_NUMBERS, _ITEM_BYTES = 64, 512, 32
# Bytes of all keys together.
_MAX_KEYS_BYTES = 1 << 24
# llama.cpp reads as many numbers for each token as this key says, and counts the bytes in 32 bits.
_WIDTH_KEY, _MAX_WIDTH = ".embedding_length_out", 1 << 20
# GGUF value types with a meaning of their own here.
_U32_TYPE, _I32_TYPE, _TEXT_TYPE, _ARRAY_TYPE = 4, 5, 8, 9
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


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """What metadata hold in the place of an array, or a text, that is too long to keep.

    Attributes:
        type: name of its item type (``"str"``, ``"f32"``).
        length: how many items (or bytes of text) it has.
    """

    type: str
    length: int


def read_metadata(reader: HeaderReader, count: int) -> dict[str, object]:
    """Read the pairs of key and value.

    Raises:
        Unsound: a pair is malformed, or ggml would abort at its value.
    """
    metadata: dict[str, object] = {}
    vocabulary = Vocabulary()
    key_bytes = 0
    for i in range(count):
        raw = reader.text(MAX_KEY_BYTES, f"key {i}")
        key_bytes += len(raw)
        if key_bytes > _MAX_KEYS_BYTES:
            raise Unsound(f"has keys of more than {_MAX_KEYS_BYTES:,} bytes together")
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
    """Refuse numbers at which ggml aborts: a negative or infinite epsilon of a norm, and far too wide vectors."""
    for number in value if isinstance(value, tuple) else (value,):
        if key.endswith("epsilon") and isinstance(number, float) and not 0 <= number < math.inf:
            raise Unsound(f"is malformed: {key[:60]!r} is {number}; use a finite number that is not negative")
        if key.endswith(_WIDTH_KEY) and isinstance(number, int) and number > _MAX_WIDTH:
            raise Unsound(f"is malformed: {key[:60]!r} is {number:,}; at most {_MAX_WIDTH:,} are allowed")


def _value(reader: HeaderReader, key: str, vocabulary: Vocabulary) -> object:
    """Read the value of a key; tokens and their types go into the vocabulary."""
    what = f"the value of {key[:60]!r}"
    kind = reader.u32(what)
    if key == ALIGNMENT_KEY:
        return _alignment(reader, kind, what)
    if kind == _ARRAY_TYPE:
        return _array(reader, key, vocabulary, what)
    if kind == _TEXT_TYPE:
        return _text(reader, what)
    return _fixed(reader, _type(kind, what)[1], 1, what)[0]


def _alignment(reader: HeaderReader, kind: int, what: str) -> int:
    if kind != _U32_TYPE:
        raise Unsound(f"is malformed: {what} is not an u32")
    value = reader.u32(what)
    if value == 0 or value & (value - 1):
        raise Unsound(f"is malformed: {what} is {value}, not a power of two")
    return value


def _text(reader: HeaderReader, what: str) -> object:
    """Read a text, or step over it where it is too long to keep."""
    n = reader.u64(what)
    if n > _MAX_TEXT_BYTES or not reader.keeps(n):
        reader.skip(n, what)
        return ArrayInfo("str", n)
    return reader.take(n, what).decode(errors="replace")


def _fixed(reader: HeaderReader, code: str, count: int, what: str) -> tuple[object, ...]:
    """Read so many values of a fixed size."""
    size = struct.calcsize(f"<{code}") * count
    return struct.unpack(f"<{count}{code}", reader.take(size, what))


def _type(kind: int, what: str) -> tuple[str, str]:
    found = _TYPES.get(kind)
    if found is None:
        raise Unsound(f"is malformed: {what} has the unknown type {kind}")
    return found


def _array(reader: HeaderReader, key: str, vocabulary: Vocabulary, what: str) -> object:
    """Read an array: its items as a tuple, or an `ArrayInfo` where they are too many to keep."""
    kind, count = reader.u32(what), reader.u64(what)
    few = _KEPT_TEXTS if kind == _TEXT_TYPE else _KEPT_NUMBERS
    keep = count <= few and reader.keeps(_ITEM_BYTES * count)
    if key == TOKENS_KEY and kind == _TEXT_TYPE:
        vocabulary.tokens = read_tokens(reader, count, what)
        return ArrayInfo("str", count)
    if kind == _TEXT_TYPE:
        if keep:
            return tuple(_text(reader, what) for _ in range(count))
        reader.walk(count, what)
        return ArrayInfo("str", count)
    name, code = _type(kind, what)
    types = key == TOKEN_TYPES_KEY and kind == _I32_TYPE
    if types:
        check_type_count(count)
    if not keep and not types:
        reader.skip(struct.calcsize(f"<{code}") * count, what)
        return ArrayInfo(name, count)
    numbers = _fixed(reader, code, count, what)
    if types:
        vocabulary.types = numbers
    return numbers if keep else ArrayInfo(name, count)
