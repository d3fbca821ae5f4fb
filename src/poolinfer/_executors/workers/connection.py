"""The connection to a child process: its socket and what it prints, watched by a poller."""

from __future__ import annotations

import selectors
from collections.abc import Callable

from ..._wire.codec import WireError
from .child_process import Child
from .poller import Poller


class Connection:
    """Carries messages to and from a child until it ends. `send` may be called from any thread.

    Args:
        child: the child process.
        poller: what watches the child, and calls `on_message` and `on_end`.
        on_message: called with each message; may raise WireError.
        on_end: called once, with the reason why no more messages come: ``""`` if the child has closed its end, or
            else what is wrong with the child's bytes.
    """

    def __init__(
        self, child: Child, poller: Poller, on_message: Callable[[bytes], None], on_end: Callable[[str], None]
    ) -> None:
        self._child = child
        self._poller = poller
        self._on_message = on_message
        self._on_end = on_end
        self._cut = False
        poller.watch(child, self._on_socket, self._on_output)

    def send(self, data: bytes) -> None:
        """Send a frame without waiting. It is lost when the child is gone."""
        if not self._child.channel.send(data):
            self._poller.run_soon(self._want_write)

    def cut(self) -> None:
        """Stop reading messages; what was printed before is still read. Idempotent."""
        self._cut = True
        self._poller.forget(self._child.channel, self._child.output)
        self._child.output.drain()

    def _want_write(self) -> None:
        if not self._cut:
            self._poller.want_write(self._child, True)

    def _on_output(self, _: int) -> None:
        if not self._cut and not self._child.output.read():
            self._poller.forget(self._child.output)

    def _on_socket(self, mask: int) -> None:
        if not self._cut and mask & selectors.EVENT_WRITE and self._child.channel.flush():
            self._poller.want_write(self._child, False)
        if not self._cut and mask & selectors.EVENT_READ:
            self._read()

    def _read(self) -> None:
        try:
            for data in self._child.channel.receive():
                self._on_message(data)
                if self._cut:
                    return
        except EOFError:
            self._finish("")
        except WireError as error:
            self._finish(f"protocol: {error}")

    def _finish(self, why: str) -> None:
        if not self._cut:
            self.cut()
            self._on_end(why)
