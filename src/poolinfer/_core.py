"""The life of a pool: new, starting, running, closing, closed (or broken), and its two threads.

The starter loads the model and ends. The conductor gives what callers submit to the executor, expires
deadlines, and reaps dropped calls: a caller's thread only ever appends to a queue, so Ctrl-C cannot interrupt
a hand-over.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from ._dispatch import Dispatcher
from ._errors import (
    CallCancelled,
    ForkedPool,
    ModelError,
    PoolBroken,
    PoolClosed,
    PoolError,
    PoolinferError,
)
from ._executor import Executor
from ._requests import Chat, Embed, Raw
from ._stats import PoolStats
from ._ticket import Ticket

_log = logging.getLogger("poolinfer")
_OVER = ("closing", "closed")

#: Makes the executor when the pool starts.
Make: TypeAlias = Callable[[], Executor]


class Core:
    """A pool without its public face, which may be garbage-collected while this still works."""

    def __init__(self, make: Make, max_queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = "new"
        self._make = make
        self._pid = 0
        self._changed = threading.Condition()
        self._mail: SimpleQueue[bool] = SimpleQueue()
        self._dispatcher = Dispatcher(max_queue, clock, lambda: self._mail.put(True))
        self._executor: Executor | None = None
        self._failure: PoolinferError | None = None
        self._threads: list[threading.Thread] = []
        self._abandoned = False
        self._stopping = False

    def start(self) -> None:
        """Start, and wait until the executor is ready.

        Raises:
            ModelError: the model cannot be loaded.
            PoolClosed: the pool was closed.
        """
        self._begin()
        with self._changed:
            self._changed.wait_for(lambda: self.state != "starting")
            if self._failure is not None:
                raise self._failure
            if self.state in _OVER:
                raise PoolClosed("the pool is closed; make a new one")

    def _begin(self) -> None:
        """Start once; loading goes on in a thread of its own."""
        with self._changed:
            if self.state != "new":
                return
            self._pid = os.getpid()
            self._executor = self._make()
            self.state = "starting"
            self._threads = [
                threading.Thread(
                    target=self._load, args=(self._executor,), name="poolinfer-start", daemon=True
                ),
                threading.Thread(target=self._conduct, name="poolinfer-conductor", daemon=True),
            ]
            _running.add(self)
            try:
                for thread in self._threads:
                    thread.start()
            except RuntimeError as error:
                self._threads = [thread for thread in self._threads if thread.ident is not None]
                self.state, self._failure = "broken", PoolBroken(f"the pool cannot start its threads ({error})")
                raise self._failure from error

    def _load(self, executor: Executor) -> None:
        try:
            executor.start(self._dispatcher.ready)
        except PoolinferError as error:
            self._break(error)
        except Exception as error:
            _log.exception("the executor failed to start")
            self._break(ModelError(f"the executor failed to start: {error!r}"))
        else:
            with self._changed:
                if self.state == "starting":
                    self.state = "running"
                self._changed.notify_all()
            self._dispatcher.open(executor)

    def _break(self, error: PoolinferError) -> None:
        with self._changed:
            if self.state in _OVER:
                return
            self.state, self._failure = "broken", error
            self._dispatcher.shut(PoolBroken(f"the pool cannot go on ({error}); make a new one"))
            self._changed.notify_all()
        self._dispatcher.fail_all(lambda: error)

    def check_process(self) -> None:
        """Refuse in a forked child.

        Raises:
            ForkedPool: this is not the process that started the pool.
        """
        if self._foreign:
            raise ForkedPool(
                f"this pool was started in process {self._pid}, from which this process was forked; make a new pool"
                " here, after the fork (gunicorn: in post_fork, or without --preload)"
            )

    @property
    def _foreign(self) -> bool:
        return self._pid != 0 and os.getpid() != self._pid

    @property
    def is_running(self) -> bool:
        """Whether the pool has threads in this process."""
        return self.state not in ("new", "closed") and not self._foreign

    def describe(self) -> str:
        """The state and the live counts, for a repr."""
        if self._foreign or self.state == "new":
            return "of a parent process" if self._foreign else "new"
        stats = self.stats()
        return f"{stats.state}, {stats.busy}/{stats.slots} slots busy, {stats.waiting} waiting"

    def submit(self, request: Chat | Raw | Embed) -> Ticket:
        """Accept a checked request.

        Raises:
            PoolFull: the queue is full.
            PoolClosed: the pool is closing or closed.
            PoolBroken: the executor cannot go on.
            ForkedPool: this is a forked child.
        """
        self.check_process()
        self._begin()
        return self._dispatcher.submit(request)

    def cancel(self, ticket: Ticket) -> None:
        """End a call as cancelled, unless it has ended."""
        if not self._foreign:
            self._dispatcher.cancel(ticket)

    def drop(self, ticket: Ticket) -> None:
        """Cancel a call that nobody holds any more; any finaliser may call this."""
        if not self._foreign:
            self._dispatcher.drop(ticket)

    def stats(self) -> PoolStats:
        """A snapshot.

        Raises:
            ForkedPool: this is a forked child.
        """
        self.check_process()
        return self._dispatcher.stats(self.state)

    def close(self, grace: float) -> None:
        """Take no more calls, let accepted ones end within `grace` seconds, cancel the rest, give all back.

        In a forked child nothing happens: the pool is the parent's.
        """
        if self._foreign:
            return
        if threading.current_thread().name.startswith("poolinfer-"):
            raise PoolError("close() was called from one of the pool's own threads, which it would wait for")
        self._close(grace)

    def _close(self, grace: float) -> None:
        with self._changed:
            if self.state in _OVER:
                self._changed.wait_for(lambda: self.state == "closed")
                return
            before, self.state = self.state, "closing"
            self._dispatcher.shut(PoolClosed("the pool is closed; make a new one"))
            self._changed.notify_all()
        deadline = time.monotonic() + grace
        try:
            if before == "running":
                self._dispatcher.wait_settled(grace)
        finally:
            self._finish(max(0.0, deadline - time.monotonic()))

    def _finish(self, grace: float) -> None:
        self._dispatcher.fail_all(lambda: CallCancelled("the pool was closed before the call ended"))
        if self._executor is not None:
            self._executor.close(grace)
        self._stopping = True
        self._mail.put(True)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        _running.discard(self)
        with self._changed:
            self.state = "closed"
            self._changed.notify_all()

    def abandon(self) -> None:
        """Close soon, on the conductor; any finaliser may call this."""
        self._abandoned = True
        self._mail.put(True)

    def _conduct(self) -> None:
        while not self._stopping:
            try:
                timeout = self._dispatcher.pump()
            except Exception:
                _log.exception("the pool's conductor failed; it goes on")
                timeout = 1.0
            with suppress(Empty):
                self._mail.get(timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
                while True:
                    self._mail.get_nowait()
            if self._abandoned and not self._stopping:
                self._close(0.0)


_running: weakref.WeakSet[Core] = weakref.WeakSet()


def _close_all() -> None:
    """At exit: end calls and threads while Python still works, so that none dies inside the engine."""
    for core in list(_running):
        core.close(0.0)


atexit.register(_close_all)
