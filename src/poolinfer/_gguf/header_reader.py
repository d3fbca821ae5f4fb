"""Reading the little-endian values of a model file's header, each within bounds and never past the file's end."""

from __future__ import annotations

import os
import struct

_WINDOW_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 30
_MAX_STRINGS = 1 << 22
_MAX_KEPT_BYTES = 1 << 24
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
#: Most bytes of a key, and of a text that is looked at.
MAX_KEY_BYTES = 65_535


class Unsound(Exception):
    """The file is not a sound GGUF file; the message says why, and begins with a verb."""


class HeaderReader:
    """Reads a file's header from its beginning to its end, through a window that moves forward.

    `what`, in its methods, says in messages what is read.

    Args:
        fd: the open file.
        size: the file's size in bytes.

    Attributes:
        size: the file's size in bytes.
        pos: where the next value begins.
        strings: how many strings were stepped over.
        kept: bytes that are kept of the metadata.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._window = b""
        self._base = 0
        self.size = size
        self.pos = 0
        self.strings = 0
        self.kept = 0

    def need(self, n: int, what: str) -> None:
        """Refuse a file that does not have `n` bytes more, or whose header is too long."""
        if n > self.size - self.pos:
            raise Unsound(f"is truncated: {what} needs {self.pos + n:,} bytes, it has {self.size:,}")
        if self.pos + n > _MAX_HEADER_BYTES:
            raise Unsound(f"has a header of more than {_MAX_HEADER_BYTES:,} bytes ({what})")

    def skip(self, n: int, what: str) -> None:
        """Step over `n` bytes."""
        self.need(n, what)
        self.pos += n

    def take(self, n: int, what: str) -> bytes:
        """The next `n` bytes."""
        self.need(n, what)
        start = self.pos - self._base
        if start + n > len(self._window):
            self._fill(max(n, _WINDOW_BYTES))
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
        """The next string, of at most `longest` bytes."""
        n = self.u64(what)
        if n > longest:
            raise Unsound(f"has {what} of {n:,} bytes; at most {longest:,} are allowed")
        return self.take(n, what)

    def keeps(self, n: int) -> bool:
        """Whether `n` bytes more may be kept; if so, they are counted."""
        fits = self.kept + n <= _MAX_KEPT_BYTES
        self.kept += n if fits else 0
        return fits

    def walk(self, count: int, what: str, seen: list[bytes] | None = None) -> None:
        """Step over `count` strings, and add them to `seen` if it is given."""
        self.need(8 * count, what)
        self.strings += count
        if self.strings > _MAX_STRINGS:
            raise Unsound(f"has more than {_MAX_STRINGS:,} texts in its metadata ({what})")
        while count:
            if seen is None:
                self.skip(self.u64(what), what)
            else:
                seen.append(self.text(MAX_KEY_BYTES, what))
            count -= 1
            count -= self._walk_window(count, seen)

    def _walk_window(self, count: int, seen: list[bytes] | None) -> int:
        """Step over the strings that are wholly in the window; how many. The loop is hot, hence the locals."""
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
