"""Runs the callbacks of ended calls, on a thread of their own, where a slow one holds up nothing else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeAlias

from .._data.errors import PoolBroken
from .._system.logs import POOLS, SafeLog
from .._system.threads import OwnThread, start_in_pool

_log = SafeLog()

#: What is to be done when a call has ended.
Callback: TypeAlias = Callable[[], object]


class Callbacks:
    """Runs the callbacks of a pool one after the other, on one thread, which starts when it is first needed."""

    def __init__(self) -> None:
        # Reentrant: a signal handler may add a callback while the thread that it interrupts does.
        self._lock = threading.RLock()
        self._queue: SimpleQueue[Callback | None] = SimpleQueue()
        self._thread: OwnThread | None = None
        self._closed = False

    def prepare(self) -> None:
        """Start the thread if there is none, so that `run`, which executors' threads call, need not.

        Raises:
            PoolBroken: no thread can be started.
        """
        with self._lock:
            if self._thread is not None or self._closed:
                return
            thread = OwnThread(self._run_all, "poolinfer-callbacks")
            # A signal handler may have been here meanwhile. Only one thread is started: a second would never end.
            self._thread = kept = self._thread or thread
            if kept is thread:
                try:
                    start_in_pool(thread)
                except PoolBroken:
                    self._thread = None
                    raise

    def run(self, callback: Callback) -> None:
        """Run a callback soon; after `close`, on a new thread."""
        with self._lock:
            if self._closed:
                start_in_pool(OwnThread(lambda: _run(callback), "poolinfer-callbacks"))
            else:
                self._queue.put(callback)

    def close(self, timeout: float) -> None:
        """Wait until all callbacks have run, for at most `timeout` seconds."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(None)
        thread.join(timeout)
        if thread.is_alive():
            _log.warning("a callback of an ended call still runs %.1f s after its pool's end", timeout)

    def _run_all(self) -> None:
        while (callback := self._queue.get()) is not None:
            _run(callback)
            # This thread must not hold the last call while it waits for the next one.
            del callback


def _run(callback: Callback) -> None:
    try:
        callback()
    except BaseException as error:  # SystemExit, too: other callbacks need this thread
        with suppress(Exception):
            _log.exception("a callback of an ended call raised")
            if not _is_heard():
                trace = error.__traceback__
                threading.excepthook(
                    threading.ExceptHookArgs((type(error), error, trace, threading.current_thread()))
                )


def _is_heard() -> bool:
    """Whether the host has chosen what becomes of an error in our log: a handler, or a level that drops it."""
    if not logging.getLogger(POOLS).isEnabledFor(logging.ERROR):
        return True
    logger: logging.Logger | None = logging.getLogger(POOLS)
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
