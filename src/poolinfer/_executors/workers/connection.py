"""The line to a child process: its socket and what it prints, on a loop."""

from __future__ import annotations

import selectors
from collections.abc import Callable

from ..._wire.codec import WireError
from .child_process import Child
from .poller import Poller


class Connection:
    """Carries messages to and from a child until it ends. `post` may be called from any thread.

    Args:
        child: it.
        loop: what watches it, and calls the two that follow.
        hear: takes a message; may raise WireError.
        end: called once, with why the line was cut: ``""`` when the child has closed its end, or else what it sent
            that is no message.
    """

    def __init__(
        self, child: Child, loop: Poller, hear: Callable[[bytes], None], end: Callable[[str], None]
    ) -> None:
        self._child = child
        self._loop = loop
        self._hear = hear
        self._end = end
        self._cut = False
        loop.watch(child, self._on_socket, self._on_output)

    def post(self, data: bytes) -> None:
        """Send a frame without waiting; lost when the child is gone."""
        if not self._child.channel.send(data):
            self._loop.call(self._want_write)

    def cut(self) -> None:
        """Hear no more, but for what was printed; idempotent."""
        self._cut = True
        self._loop.forget(self._child.channel, self._child.output)
        self._child.output.drain()

    def _want_write(self) -> None:
        if not self._cut:
            self._loop.want_write(self._child, True)

    def _on_output(self, _: int) -> None:
        if not self._cut and not self._child.output.read():
            self._loop.forget(self._child.output)

    def _on_socket(self, mask: int) -> None:
        if not self._cut and mask & selectors.EVENT_WRITE and self._child.channel.flush():
            self._loop.want_write(self._child, False)
        if not self._cut and mask & selectors.EVENT_READ:
            self._read()

    def _read(self) -> None:
        try:
            for data in self._child.channel.receive():
                self._hear(data)
                if self._cut:
                    return
        except EOFError:
            self._finish("")
        except WireError as error:
            self._finish(f"protocol: {error}")

    def _finish(self, why: str) -> None:
        if not self._cut:
            self.cut()
            self._end(why)
