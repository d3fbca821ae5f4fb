"""The poller: the supervisor's selector over sockets and output, and functions that other threads want run."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from ..._system.forks import close_in_children
from .child_process import Child


class Poller:
    """Waits for all of them at once. `run_soon` may be used from any thread, the rest from the supervisor's."""

    def __init__(self) -> None:
        self._functions: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wakes: tuple[socket.socket, ...] = ()
        self._selector: selectors.BaseSelector | None = None

    def open(self) -> None:
        """Open the selector, and the sockets that wake it.

        Raises:
            OSError: there are none left.
        """
        self._wakes = socket.socketpair()
        for wake in self._wakes:
            wake.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakes[0], selectors.EVENT_READ)
        close_in_children(*self._wakes, self._selector)

    def close(self) -> None:
        """Close them; idempotent."""
        for wake in self._wakes:
            wake.close()
        if self._selector is not None:
            self._selector.close()

    def run_soon(self, function: Callable[[], None]) -> None:
        """Have the next `turn` give out a function to be run."""
        self._functions.put(function)
        with suppress(OSError, IndexError):
            self._wakes[1].send(b"\0")

    def turn(self, seconds: float) -> list[Callable[[], None]]:
        """Wait until something has happened.

        Args:
            seconds: how long to wait at most.

        Returns:
            The functions to run because of it, in order.
        """
        if self._selector is None:
            return []
        due: list[Callable[[], None]] = []
        for key, mask in self._selector.select(seconds):
            if key.data is not None:
                due.append(partial(key.data, mask))
            else:
                # Before the functions are taken: the byte of one that comes later wakes the next turn.
                self._wakes[0].recv(4096)
        with suppress(Empty):
            while True:
                due.append(self._functions.get_nowait())
        return due

    def watch(self, child: Child, on_socket: Callable[[int], None], on_output: Callable[[int], None]) -> None:
        """Have functions called when a child's socket or output is ready, with what it is ready for."""
        if self._selector is not None:
            self._selector.register(child.channel, selectors.EVENT_READ, on_socket)
            self._selector.register(child.output, selectors.EVENT_READ, on_output)

    def want_write(self, child: Child, wanted: bool) -> None:
        """Say whether it matters that a child's socket takes more bytes."""
        if self._selector is not None:
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
            self._selector.modify(child.channel, mask, self._selector.get_key(child.channel).data)

    def forget(self, *files: object) -> None:
        """Watch these files no more, if they are watched."""
        if self._selector is not None:
            for file in files:
                with suppress(KeyError):
                    self._selector.unregister(file)  # type: ignore[arg-type]
