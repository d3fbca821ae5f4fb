"""The seam between policy and place: what every executor promises to a pool.

The laws (each is a test in `poolinfer.testing.ExecutorContract`):

    L1  one ending           every accepted job yields exactly one Done or Failed, last
    L2  never from inside    emit runs on the executor's own threads, never inside submit or cancel
    L3  never block          submit, cancel and stats return at once; trouble at run time is an event
    L4  cancel is prompt     the ending comes within one engine step (or one prefill chunk)
    L5  blast radius         a worker's death fails only its own jobs, with WorkerLost
    L6  room from endings    a slot is freed by the ending event, never because a consumer went away
    L7  close leaves nothing no thread, process, descriptor or file; every job has ended first
    L8  not across fork      in a forked child every method raises ForkedPool; the parent is untouched
    L9  data only            jobs and events survive an encode/decode round trip
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .._data.events import Emit, Job
from .._data.stats import ExecutorStats


class Executor(Protocol):
    """Runs jobs somewhere and says how each one ended. See the module's laws."""

    def start(self, ready: Callable[[], None]) -> None:
        """Make ready to take jobs; may block (load, spawn). `ready` is called, from the executor's
        threads, whenever room may have appeared after a refusal that no ending announces.

        Raises:
            ModelError: the model cannot be loaded.
            PoolClosed: `close` came first.
        """
        ...

    def submit(self, job: Job, emit: Emit) -> bool:
        """Take a job (True: its events will come) or refuse it (False: no room)."""
        ...

    def cancel(self, job_id: int) -> None:
        """Ask that a job ends soon. A hint: idempotent, unknown ids are ignored."""
        ...

    def stats(self) -> ExecutorStats:
        """A snapshot of counters and gauges."""
        ...

    def close(self, grace: float) -> None:
        """End every job within `grace` seconds and give everything back; idempotent, thread-safe."""
        ...
