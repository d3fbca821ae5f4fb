"""The host's ends of a child process: a socket for frames, and a pipe for what it prints. Neither ever blocks."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import FileIO

from ..._wire.frames import FrameReader

_READ = 256 * 1024
_TAIL = 8 * 1024


class Channel:
    """The host's end of a child's private socket. `send` may be called from any thread, the rest from one."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reader = FrameReader()
        self._lock = threading.Lock()
        self._out = bytearray()
        self._closed = False

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._sock.fileno()

    def send(self, data: bytes) -> bool:
        """Send what the system takes at once, and keep the rest.

        Returns:
            Whether nothing is left to `flush`.
        """
        with self._lock:
            if self._closed:
                return True
            self._out += data
            return self._flush()

    def send_with(self, data: bytes, fds: Sequence[int]) -> None:
        """Send a short message together with descriptors, at once or not at all.

        Raises:
            OSError: the other end is gone, or takes nothing now.
        """
        with self._lock:
            if self._closed or self._out:
                raise BlockingIOError("the socket takes nothing now")
            socket.send_fds(self._sock, [data], fds)

    def flush(self) -> bool:
        """Send more of what was kept; True when nothing is left."""
        with self._lock:
            return self._closed or self._flush()

    def _flush(self) -> bool:
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            return False
        except OSError:
            # The child is gone: whoever reads will see the end of the stream.
            self._out.clear()
        return True

    def receive(self) -> Iterator[bytes]:
        """The messages that have come.

        Raises:
            EOFError: nothing will come any more.
            WireError: what came is no frame.
        """
        try:
            data = self._sock.recv(_READ)
        except BlockingIOError:
            return iter(())
        except OSError:
            data = b""
        if not data:
            raise EOFError
        return self._reader.feed(data)

    def close(self) -> None:
        """Close the socket; what was not sent is lost. Idempotent."""
        with self._lock:
            self._closed = True
            self._out.clear()
            self._sock.close()


class Output:
    """What a child prints: read as it comes, so that printing never blocks the child. The last 8 KiB are kept."""

    def __init__(self, pipe: FileIO) -> None:
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._tail = bytearray()

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._pipe.fileno()

    def read(self) -> bool:
        """Take some of what is there; False at the end of the stream."""
        try:
            data = self._pipe.read(_READ)
        except (OSError, ValueError):
            return False
        if data is None:
            return True
        self._tail += data
        del self._tail[:-_TAIL]
        return bool(data)

    def drain(self) -> None:
        """Take what is left, but not for ever: a process of the child's may hold the pipe and go on writing."""
        for _ in range(64):
            before = bytes(self._tail)
            if not self.read() or bytes(self._tail) == before:
                return

    @property
    def text(self) -> str:
        """The last 8 KiB of what was printed."""
        return self._tail.decode(errors="replace").strip()

    def close(self) -> None:
        """Close the pipe; idempotent."""
        with suppress(OSError):
            self._pipe.close()
