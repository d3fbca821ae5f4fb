"""Calls of a pool over a `FakeExecutor`, and what happens to them a moment later."""

from __future__ import annotations

import threading

from poolinfer import Raw
from poolinfer.testing import wait_until


def submitted(pool, executor, n):
    """Calls that are running."""
    calls = [pool.submit(Raw(str(i))) for i in range(n)]
    wait_until(lambda: len(executor.taken) == n)
    return calls


def taken(executor, n):
    """The id of the nth job that was taken, waited for."""
    wait_until(lambda: len(executor.taken) >= n, f"{n} jobs taken")
    return executor.taken[n - 1]


def later(function, *args):
    """Runs something on another thread, soon after this one began to wait."""
    timer = threading.Timer(0.05, function, args)
    timer.start()
    return timer
