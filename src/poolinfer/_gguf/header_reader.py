"""Reads little-endian values of a model file's header: never past the file's end, and never more than a bound."""

from __future__ import annotations

import os
import struct

_WINDOW = 1 << 20
_HEADER_MAX = 1 << 30
_STRINGS_MAX = 1 << 22
_KEPT_MAX = 1 << 24
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
#: Most bytes of a key, and of a token.
KEY_MAX = 65_535


class Unsound(Exception):
    """The file is not a sound GGUF file. The message continues a sentence that begins with the file's name."""


class HeaderReader:
    """Reads little-endian values of a file through a window that only moves forward.

    `what` in its methods names what is read, for the message of `Unsound`.

    Attributes:
        size: bytes of the file.
        pos: position of the next value, in bytes from the file's beginning.
        strings: number of strings that were stepped over.
        kept: bytes of values that are kept in memory.
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
        """Raise `Unsound` unless the file has `n` bytes more, and the header stays within its bound."""
        if n > self.size - self.pos:
            raise Unsound(f"is truncated: {what} needs {self.pos + n:,} bytes, it has {self.size:,}")
        if self.pos + n > _HEADER_MAX:
            raise Unsound(f"has a header of more than {_HEADER_MAX:,} bytes ({what})")

    def skip(self, n: int, what: str) -> None:
        """Step over `n` bytes."""
        self.need(n, what)
        self.pos += n

    def take(self, n: int, what: str) -> bytes:
        """The next `n` bytes."""
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
        """The next string, if it has at most `longest` bytes."""
        n = self.u64(what)
        if n > longest:
            raise Unsound(f"has {what} of {n:,} bytes; at most {longest:,} are allowed")
        return self.take(n, what)

    def keep(self, n: int) -> bool:
        """Count `n` bytes more as kept in memory, and return True, if that stays within the bound."""
        fits = self.kept + n <= _KEPT_MAX
        self.kept += n if fits else 0
        return fits

    def skip_strings(self, count: int, what: str, seen: list[bytes] | None = None) -> None:
        """Step over `count` strings; appends them to `seen` if that is given."""
        self.need(8 * count, what)
        self.strings += count
        if self.strings > _STRINGS_MAX:
            raise Unsound(f"has more than {_STRINGS_MAX:,} texts in its metadata ({what})")
        while count:
            if seen is None:
                self.skip(self.u64(what), what)
            else:
                seen.append(self.text(KEY_MAX, what))
            count -= 1
            count -= self._skip_in_window(count, seen)

    def _skip_in_window(self, count: int, seen: list[bytes] | None) -> int:
        """Step over the strings that lie wholly in the window; returns how many. This is the hot loop."""
        unpack, window, end = _U64.unpack_from, self._window, len(self._window)
        at = self.pos - self._base
        skipped = 0
        while skipped < count and at + 8 <= end:
            after = at + 8 + unpack(window, at)[0]
            if after > end:
                break
            if seen is not None:
                seen.append(window[at + 8 : after])
            at = after
            skipped += 1
        self.pos = self._base + at
        return skipped
