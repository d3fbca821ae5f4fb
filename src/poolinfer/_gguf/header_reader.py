"""Little-endian values of a model file's header: each is read only if the file has it, and bounded."""

from __future__ import annotations

import os
import struct

_WINDOW = 1 << 20
_HEADER_MAX = 1 << 30
_STRINGS_MAX = 1 << 22
_KEPT_MAX = 1 << 24
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
#: Most bytes of a key, and of a text that is looked at.
KEY_MAX = 65_535


class Unsound(Exception):
    """The file is not a sound GGUF file; the message says why."""


class Reader:
    """Little-endian values of a file, through a window that moves forward; never past the end."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._window = b""
        self._base = 0
        self.size = size
        self.pos = 0
        self.strings = 0
        self.kept = 0

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

    def keeps(self, n: int) -> bool:
        """Whether that many bytes more may be kept; they are counted if so."""
        fits = self.kept + n <= _KEPT_MAX
        self.kept += n if fits else 0
        return fits

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
                seen.append(self.text(KEY_MAX, what))
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
