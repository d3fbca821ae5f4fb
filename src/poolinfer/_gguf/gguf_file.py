"""A GGUF file of any kind, opened without blocking, and read in Python, so that only a sound one reaches C code."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .._data.errors import ModelError
from .header_parser import parse_header
from .header_reader import Unsound

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "directory"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A sound GGUF file.

    Attributes:
        path: the file's absolute path.
        identity: the file's device, inode, size and mtime (ns), which differ once the file was replaced.
        metadata: the file's key-value pairs; long arrays and texts are `ArrayInfo`.
        tensors: the dimensions of the file's tensors, by name.
    """

    path: str
    identity: tuple[int, int, int, int]
    metadata: Mapping[str, object] = field(repr=False)
    tensors: Mapping[str, tuple[int, ...]] = field(repr=False)

    def text(self, key: str) -> str:
        """A text of the metadata; empty if there is none of that key."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        """A whole number of the metadata; None if there is none of that key."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_gguf_file(path: str | os.PathLike[str], what: str) -> GgufFile:
    """Check a GGUF file; never blocks, and runs no native code on it.

    Args:
        path: the file.
        what: what to call it in messages.

    Raises:
        ModelError: the file cannot be opened, is no regular file, or is not a sound GGUF file.
    """
    try:
        name = _path(path)
        fd = _open(name)
        try:
            return _read(name, fd)
        finally:
            os.close(fd)
    except Unsound as error:
        raise ModelError(f"{what} {os.fspath(path)!r} {error}") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{what} {os.fspath(path)!r} cannot be read: {reason}") from error


def _path(path: object) -> str:
    if not isinstance(path, str | os.PathLike):
        raise ModelError(f"model path is of type {type(path).__name__}: use a str or a Path")
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise ModelError(f"model path {name!r} is empty or holds a NUL character")
    return os.path.abspath(name)


def _open(name: str) -> int:
    # Checked before opening as well: even a non-blocking open lets the writer of a FIFO go on.
    _regular(os.stat(name))
    flags = os.O_RDONLY
    for wanted in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
        flags |= getattr(os, wanted, 0)
    return os.open(name, flags)


def _regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((kind for test, kind in _KINDS if test(found.st_mode)), "special file")
        raise Unsound(f"is a {kind}, not a regular file")


def _read(name: str, fd: int) -> GgufFile:
    found = os.fstat(fd)
    _regular(found)
    if found.st_size == 0:
        raise Unsound("is empty")
    metadata, tensors = parse_header(fd, found.st_size)
    identity = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return GgufFile(name, identity, metadata, tensors)
