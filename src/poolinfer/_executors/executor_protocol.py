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
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from .._data.events import Event, Job

#: Takes one event of one job. Called on the executor's threads; must not block.
Emit: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class ExecutorStats:
    """A snapshot of an executor.

    Attributes:
        workers: lanes that work.
        slots: calls that can run at once, over all lanes.
        busy: slots taken, stopping ones included.
        steps: engine steps so far.
        prompt_tokens: prompt tokens computed so far.
        cached_tokens: prompt tokens so far that were reused and not computed.
        completion_tokens: tokens generated so far.
        preempted: how often a call gave its memory up to older ones, to go on later.
        step_seconds: time spent in engine steps so far.
        crashed: workers that died, or were killed because they were stuck.
        recycled: workers that were replaced for their age, their size, or the calls that they had served.
        memory: bytes that each worker process costs (PSS: memory that n processes share counts one n-th); empty
            where there are none, or the system does not say. Looked at every few seconds.
        broken: whether workers kept dying, so that none will come any more.
    """

    workers: int = 0
    slots: int = 0
    busy: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    preempted: int = 0
    step_seconds: float = 0.0
    crashed: int = 0
    recycled: int = 0
    memory: tuple[int, ...] = ()
    broken: bool = False


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
