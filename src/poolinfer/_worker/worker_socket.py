"""The worker's end of its socket: messages and events to its host, and messages from its host.

All events of an engine step go out in one frame. Logged lines go first, so that the host logs why a call failed
before it reads the failure.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn, TypeAlias

from .._data.errors import EngineError
from .._data.events import Done, Event, Failed
from .._system.logs import Forwarder, forward_logs
from .._system.threads import OwnThread
from .._wire.codec import WireError
from .._wire.frames import Burst, FrameReader, FromWorker, Logged, ToWorker, frame, read_to_worker

#: What waits to be sent: an event with its job's id, or a message.
Outgoing: TypeAlias = "tuple[int, Event] | FromWorker"

_READ = 256 * 1024
#: Exit statuses: the host is gone, the engine could not be loaded, the worker is broken.
HOST_GONE, BOOT_FAILED, BROKEN = 0, 3, 70


class WorkerSocket:
    """Sends messages and events in the order in which they were queued, and reads what the host sends."""

    def __init__(self, sock: socket.socket) -> None:
        self._log: Forwarder | None = None
        self._sock = sock
        self._outbox: deque[Outgoing] = deque()
        self._bell = threading.Semaphore(0)
        self._sending = threading.Lock()
        self._frames = FrameReader()
        OwnThread(target=self._send_all, name="worker-sender").start()

    def queue(self, item: Outgoing) -> None:
        """Queue a message or an event for the next `flush`."""
        self._outbox.append(item)

    def listen_to_log(self, levels: tuple[int, int]) -> None:
        """Have what is logged from now on sent, too."""
        self._log = forward_logs(levels, self._bell.release)

    def flush_soon(self) -> None:
        """Send all that is queued, on another thread."""
        if self._outbox:
            self._bell.release()

    def flush(self) -> None:
        """Send all that is queued."""
        with self._sending:
            outgoing: list[Outgoing] = [*logged(self._log)]
            with suppress(IndexError):
                while True:
                    outgoing.append(self._outbox.popleft())
            if not outgoing:
                return
            try:
                self._sock.sendall(pack(outgoing))
            except OSError:
                os._exit(HOST_GONE)

    def receive(self, take: Callable[[ToWorker], None]) -> NoReturn:
        """Take messages until the host is gone; then end the process, even inside a C call."""
        with suppress(OSError):
            while data := self._sock.recv(_READ):
                for message in self._frames.feed(data):
                    take(read_to_worker(message))
        os._exit(HOST_GONE)

    def _send_all(self) -> NoReturn:
        try:
            while True:
                self._bell.acquire()
                self.flush()
        except Exception:
            logging.getLogger("poolinfer").exception("the worker cannot send its messages")
            os._exit(BROKEN)


def logged(log: Forwarder | None) -> list[Logged]:
    """The message with what was logged and not sent yet, if there is any."""
    lines, lost = log.take() if log is not None else ((), 0)
    return [Logged(lines, lost)] if lines else []


def pack(outgoing: list[Outgoing]) -> bytes:
    """The frames for messages and events: messages first, then all events in one frame."""
    events = [one for one in outgoing if isinstance(one, tuple)]
    messages: list[FromWorker] = [one for one in outgoing if not isinstance(one, tuple)]
    return b"".join(map(frame, messages)) + (_pack_events(events) if events else b"")


def _pack_events(events: Sequence[tuple[int, Event]]) -> bytes:
    """One frame, or one for each event where that would be too long. An answer that fits no frame is an error."""
    try:
        return frame(Burst(tuple(events)))
    except WireError as error:
        if len(events) > 1:
            return b"".join(_pack_events([one]) for one in events)
        job_id, event = events[0]
        if not isinstance(event, Done):
            # A chunk. The whole answer, which follows, does not fit either, and its call fails then.
            return b""
        failure = Failed.of(EngineError(f"the answer cannot be sent to the pool's process ({error})"))
        return frame(Burst(((job_id, failure),)))
