"""The header of a GGUF file: its metadata and tensor directory, every claim checked before it is believed.

llama.cpp aborts the process on some malformed files, so what it asserts is checked here, too.
"""

from __future__ import annotations

from .header_reader import HeaderReader, Unsound
from .metadata import ALIGNMENT_KEY, read_metadata
from .tensor_directory import read_tensors

_MAX_ENTRIES = 1 << 17
_DEFAULT_ALIGNMENT = 32
# Bytes of the shortest pair, and of the shortest description of a tensor.
_LEAST_PAIR_BYTES, _LEAST_TENSOR_BYTES = 14, 24


def parse_header(fd: int, size: int) -> tuple[dict[str, object], dict[str, tuple[int, ...]]]:
    """Metadata of an open GGUF file, and its tensors' dimensions by their names.

    Args:
        fd: the open file.
        size: the file's size in bytes.

    Raises:
        Unsound: the file is no GGUF file, breaks the format, or claims to hold more than it does.
        OSError: the file cannot be read.
    """
    reader = HeaderReader(fd, size)
    n_tensors, n_pairs = _counts(reader)
    metadata = read_metadata(reader, n_pairs)
    if n_tensors == 0 and "split.count" not in metadata:
        raise Unsound("holds no tensors")
    alignment = metadata.get(ALIGNMENT_KEY, _DEFAULT_ALIGNMENT)
    tensors = read_tensors(reader, n_tensors, alignment if isinstance(alignment, int) else _DEFAULT_ALIGNMENT)
    return metadata, tensors


def _counts(reader: HeaderReader) -> tuple[int, int]:
    """How many tensors and metadata pairs the header claims, if it begins as that of a GGUF file does."""
    magic = reader.take(4, "its magic")
    if magic != b"GGUF":
        raise Unsound(f"is not a GGUF file: it begins with {magic!r}")
    version = reader.u32("its version")
    if version and not version & 0xFFFF:
        raise Unsound("is a big-endian GGUF file; convert it with gguf-convert-endian")
    if version not in (2, 3):
        raise Unsound(f"is of GGUF version {version}; 2 and 3 can be read")
    n_tensors = _count(reader, "tensors")
    n_pairs = _count(reader, "metadata pairs")
    reader.need(_LEAST_PAIR_BYTES * n_pairs, "its metadata")
    reader.need(_LEAST_TENSOR_BYTES * n_tensors, "its tensor directory")
    return n_tensors, n_pairs


def _count(reader: HeaderReader, what: str) -> int:
    n = reader.u64(f"the number of {what}")
    if n > _MAX_ENTRIES:
        raise Unsound(f"claims {n:,} {what}; at most {_MAX_ENTRIES:,} are allowed")
    return n
