"""How a waiting reader is woken from another thread: in a thread, or in an event loop. And the conductor's bell."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

from .._system.host_frames import level_of_host

#: Wakes one waiter; may be called from any thread. Raises RuntimeError when the waiter's event loop is gone.
Wake: TypeAlias = Callable[[], None]


def runs_event_loop() -> bool:
    """Whether asyncio or trio runs in this thread; one that was never imported does not, and is not imported."""
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    in_asyncio = asyncio is not None and asyncio._get_running_loop() is not None
    return in_asyncio or (trio is not None and bool(trio.lowlevel.in_trio_run()))


def thread_waker() -> tuple[threading.Event, Wake]:
    """An event that a thread waits for, and what sets it from any thread."""
    event = threading.Event()
    return event, event.set


def loop_waker() -> tuple[anyio.Event, Wake]:
    """An event to await in the running event loop (asyncio or trio), and what sets it from any thread."""
    event = anyio.Event()
    token = anyio.lowlevel.current_token().native_token
    loop: Any = token
    schedule = loop.call_soon_threadsafe if hasattr(token, "call_soon_threadsafe") else loop.run_sync_soon

    def wake() -> None:
        schedule(event.set)

    return event, wake


class Bell:
    """Wakes one thread of ours, however often it is rung. Any thread, signal handler or finaliser may ring it."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Let `wait` return, now or when it is called next. Takes no lock."""
        self._rings.put(None)

    def wait(self, timeout: float | None) -> None:
        """Wait until the bell rings, or for `timeout` seconds (None: no bound). All rings so far are one."""
        with suppress(Empty):
            self._rings.get(timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
            while True:
                self._rings.get_nowait()


_warned: set[str] = set()


def warn_in_event_loop(instead: str) -> None:
    """Warn that a sync call is about to stop the event loop of this thread; once for each remedy.

    Does not warn in an IPython kernel, which runs every cell inside a loop of its own.

    Args:
        instead: the remedy, such as ``"`async for`"``.
    """
    if instead in _warned or not runs_event_loop() or _is_kernel():
        return
    _warned.add(instead)
    warnings.warn(
        f"this waits inside a running event loop and stops everything else in it; use {instead}",
        RuntimeWarning,
        stacklevel=level_of_host(),
    )


def _is_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
