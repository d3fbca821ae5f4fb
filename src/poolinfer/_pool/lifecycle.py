"""The life of a pool: new, starting, running, closing, closed (or broken), and the threads that every pool has.

The conductor does what callers only ask for (see `poolinfer._pool.dispatcher`), and closes the pool. The loader
makes and starts the executor, which may take long, and ends. Threads that only some pools have are in other files.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeAlias

from .._data.errors import (
    CALL_WAS_CANCELLED,
    POOL_WAS_CLOSED,
    CallCancelled,
    ModelError,
    PoolBroken,
    PoolClosed,
    PoolError,
    PoolFull,
    PoolinferError,
    fresh,
)
from .._data.requests import Request
from .._data.stats import PoolStats
from .._executors.executor_protocol import Executor
from .._system.forks import check_process, was_forked
from .._system.logs import SafeLog
from .._system.threads import OwnThread, start_in_pool
from .callbacks import Callbacks
from .dispatcher import Dispatcher
from .pool_log import log_closed, log_started
from .ticket import Ticket

_log = SafeLog()
# States in which `start` has nothing to wait for.
_SETTLED = ("running", "broken", "closing", "closed")
_CLOSED = "the pool is closed; make a new one"
# Seconds that `close` waits for callbacks which still run when the grace is over.
_CALLBACK_SECONDS = 5.0
# Seconds that `close` waits at least for an executor that is still being made.
_MAKE_SECONDS = 5.0
# Seconds that all pools together may take to close when the interpreter ends. Killing a stuck worker takes ten.
_EXIT_SECONDS = 30.0

#: Makes the executor when the pool starts.
MakeExecutor: TypeAlias = Callable[[], Executor]


class PoolLifecycle:
    """What a `Pool` does; the conductor holds this object, so that a pool that nobody holds is found and closed.

    Args:
        make: makes the executor when the pool starts.
        max_queue: most calls that may wait.
        clock: tells monotonic seconds.
        title: what the pool is made of, for its log.

    Attributes:
        state: ``"new"``, ``"starting"``, ``"running"``, ``"closing"``, ``"closed"`` or ``"broken"``.
        callbacks: runs the callbacks of ended calls.
    """

    def __init__(
        self, make: MakeExecutor, max_queue: int, clock: Callable[[], float] = time.monotonic, title: str = ""
    ) -> None:
        self.state: str = "new"
        self.callbacks: Callbacks = Callbacks()
        self._title = title
        self._make = make
        self._pid = 0
        self._changed = threading.Condition()
        self._dispatcher = Dispatcher(max_queue, clock)
        self._executor: Executor | None = None
        self._is_finishing = False
        self._loader: threading.Thread | None = None
        self._failure: PoolinferError | None = None
        # Once the pool is to close: when accepted calls must have ended, in monotonic seconds.
        self._close_by: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether `start` need not wait: the executor is ready, or never will be."""
        return self.state in _SETTLED

    def start(self) -> None:
        """Start, and wait until the executor is ready.

        Raises:
            ModelError: the model cannot be loaded.
            PoolClosed: the pool was closed.
            PoolBroken: no thread can be started.
        """
        self._begin()
        with self._changed:
            self._changed.wait_for(lambda: self.state in _SETTLED)
            if self._failure is not None:
                raise fresh(self._failure)
            if self.state != "running":
                raise PoolClosed(_CLOSED)

    def _begin(self) -> None:
        """Start the conductor, unless there is one. Of several that are started at once, the first one stays."""
        if self.state != "new":
            return
        # Set before there is a thread: a child that is forked now must not take this pool for a new one of its own.
        self._pid = os.getpid()
        start_in_pool(OwnThread(target=self._conduct, name="poolinfer-conductor"))

    def check_process(self) -> None:
        """Refuse in a forked child.

        Raises:
            ForkedPool: this is not the process that started the pool.
        """
        check_process(self._pid, "pool")

    @property
    def is_running(self) -> bool:
        """Whether the pool has threads in this process, or its conductor is about to start."""
        return self._pid == os.getpid() and self.state != "closed"

    def describe(self) -> str:
        """The state, and how many calls run and wait now, for a repr."""
        if was_forked(self._pid) or self.state == "new":
            return "of a parent process" if was_forked(self._pid) else "new"
        stats = self.stats()
        return f"{stats.state}, {stats.busy}/{stats.slots} slots busy, {stats.waiting} waiting"

    def ticket(self, request: Request) -> Ticket:
        """A ticket for a checked request, not yet accepted."""
        return self._dispatcher.ticket(request)

    def submit(self, ticket: Ticket) -> None:
        """Accept a ticket.

        Raises:
            PoolFull: the queue is full.
            PoolClosed: the pool is closing or closed.
            PoolBroken: the executor cannot go on.
            ForkedPool: this is a forked child.
        """
        self.check_process()
        # A child that is forked now must not take this pool, which is to have a call, for a new one of its own.
        self._pid = os.getpid()
        try:
            self._dispatcher.submit(ticket)
        except PoolFull:
            self._begin()
            raise
        try:
            # After the call was accepted: if the pool cannot start, this call says why, and not just "broken".
            self._begin()
        except PoolBroken:
            self._dispatcher.cancel(ticket)
            raise

    def cancel(self, ticket: Ticket, why: str = CALL_WAS_CANCELLED) -> None:
        """End a call as cancelled, unless it has ended. May be called by any finaliser or signal handler."""
        if not was_forked(self._pid):
            self._dispatcher.cancel(ticket, why)

    @property
    def slots(self) -> int:
        """Calls that can run at once; 0 before the start. Unlike `stats`, it does not ask the executor."""
        return self._dispatcher.slots

    def stats(self) -> PoolStats:
        """A snapshot.

        Raises:
            ForkedPool: this is a forked child.
        """
        self.check_process()
        return self._dispatcher.stats(self.state)

    def close(self, grace: float, patience: float | None = None) -> bool:
        """Take no more calls, let accepted ones end within `grace` seconds, cancel the rest, free everything.

        Does nothing in a forked child: the pool is the parent's.

        Args:
            grace: seconds for accepted calls to end.
            patience: most seconds to wait for all of this; None for no bound.

        Returns:
            False when `patience` was over first.
        """
        if was_forked(self._pid):
            return True
        if isinstance(threading.current_thread(), OwnThread):
            raise PoolError(
                "close() was called from one of the pool's own threads, for which it would wait. Call it from"
                " another thread: a callback may start one, or tell the thread that made the pool"
            )
        self._ask_to_close(grace)
        with self._changed:
            never_begun = self.state == "new"
            if never_begun:
                self.state = "closed"
                self._changed.notify_all()
            closed = self._changed.wait_for(lambda: self.state == "closed", patience)
        if never_begun:
            # If a call was accepted just now, its conductor will find the pool closed, and end.
            self._dispatcher.fail_all(lambda: CallCancelled(POOL_WAS_CLOSED))
            self._close_callbacks()
        return closed

    def abandon(self) -> None:
        """Ask the conductor to close at once; takes no lock, so that any finaliser may call this."""
        self._close_by = 0.0
        self._dispatcher.wake()

    def _ask_to_close(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        self._dispatcher.shut(PoolClosed(_CLOSED))
        self._close_by = deadline if self._close_by is None else min(deadline, self._close_by)
        self._dispatcher.wake()

    # The methods below run on the conductor and on the loader.

    def _conduct(self) -> None:
        with self._changed:
            if self.state != "new":
                return
            self.state = "starting"
        _running.add(self)
        self._start_loader()
        while not self._is_over():
            try:
                timeout = self._dispatcher.pump()
            except Exception:
                _log.exception("the pool's conductor failed; it goes on")
                timeout = 1.0
            self._dispatcher.wait(self._until(timeout))
        self._finish()

    def _start_loader(self) -> None:
        self._loader = OwnThread(self._load, name="poolinfer-start")
        try:
            start_in_pool(self._loader)
        except PoolBroken as error:
            self._loader = None
            self._break(error)

    def _load(self) -> None:
        began = time.monotonic()
        try:
            executor = self._make_executor()
            if executor is not None:
                executor.start(self._dispatcher.ready)
                self._dispatcher.open(executor)
                self._become("running")
                log_started(self._title, time.monotonic() - began)
        except PoolinferError as error:
            self._break(error)
        except BaseException as error:  # also SystemExit: the code of others would end this thread in silence
            _log.exception("the executor failed to start")
            self._break(ModelError(f"the executor failed to start: {error!r}"))

    def _make_executor(self) -> Executor | None:
        """Make the executor; None if the pool has closed meanwhile, and then the executor is closed here."""
        make = self._make
        del self._make  # it may hold the pool, which must be free to be dropped
        executor = make()
        with self._changed:
            self._executor, too_late = executor, self._is_finishing
        if too_late:
            executor.close(0.0)
        return None if too_late else executor

    def _break(self, error: PoolinferError) -> None:
        # A `PoolError`, such as `ForkedPool`, says what to do, and is raised as it is.
        reason = PoolBroken(f"the pool cannot go on ({error}); make a new one")
        self._dispatcher.shut(error if isinstance(error, PoolError) else reason)
        self._failure = error
        self._become("broken")
        self._dispatcher.wake()

    def _become(self, state: str) -> None:
        with self._changed:
            if self.state == "starting" or state in ("closing", "closed"):
                self.state = state
            self._changed.notify_all()

    def _is_over(self) -> bool:
        """Whether to finish now. If the pool is broken, ends all calls first."""
        failure = self._failure
        if failure is not None:
            self._dispatcher.fail_all(lambda: fresh(failure))
        if self._close_by is None:
            return False
        self._become("closing")
        return self._dispatcher.settled or time.monotonic() >= self._close_by

    def _until(self, timeout: float | None) -> float | None:
        if self._close_by is None:
            return timeout
        return self._grace() if timeout is None else min(self._grace(), timeout)

    def _finish(self) -> None:
        self._dispatcher.shut(PoolClosed(_CLOSED))
        self._dispatcher.fail_all(lambda: CallCancelled(POOL_WAS_CLOSED))
        self._dispatcher.checker.join()
        try:
            self._close_executor()
            log_closed(self._title, self._dispatcher.stats("closed"))
        except BaseException:  # see `_load`
            _log.exception("the executor failed to close")
        self._close_callbacks()
        _running.discard(self)
        self._become("closed")

    def _close_executor(self) -> None:
        with self._changed:
            executor, self._is_finishing = self._executor, True
        if executor is not None:
            executor.close(self._grace())
        if self._loader is not None:  # an executor that is still being made is closed by the loader
            self._loader.join(None if executor is not None else max(_MAKE_SECONDS, self._grace()))

    def _close_callbacks(self) -> None:
        self.callbacks.close(max(_CALLBACK_SECONDS, self._grace()))

    def _grace(self) -> float:
        return max(0.0, (self._close_by or 0.0) - time.monotonic())


_running: weakref.WeakSet[PoolLifecycle] = weakref.WeakSet()


def _close_all() -> None:
    """At exit: close all pools while Python still works. A thread that is ended inside the engine would crash."""
    running = [lifecycle for lifecycle in list(_running) if lifecycle.is_running]
    for lifecycle in running:
        lifecycle.abandon()
    end = time.monotonic() + _EXIT_SECONDS
    stuck = [lifecycle for lifecycle in running if not lifecycle.close(0.0, max(0.0, end - time.monotonic()))]
    if stuck:
        _log.error(
            "pools that are not closed %.1f s after the end of the program: %d", _EXIT_SECONDS, len(stuck)
        )


atexit.register(_close_all)
