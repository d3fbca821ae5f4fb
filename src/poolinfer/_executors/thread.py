"""The thread executor: lanes as threads of this process over one shared model.

    submit ──> a preparer's thread (render, tokenize, check) ──> a lane's thread ──> emit

A native crash in the engine ends the host process, too. The other executors are for hosts that cannot afford that.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from .._data.errors import (
    CALL_WAS_CANCELLED,
    POOL_WAS_CLOSED,
    CallCancelled,
    EngineError,
    PoolClosed,
    PoolinferError,
)
from .._data.events import Done, Emit, Event, Failed, Job
from .._data.specs import LaneSpec
from .._data.stats import ExecutorStats, summed
from .._engine.engine_protocol import Engine
from .._engine.guide.guides import Guides
from .._engine.lane.lane import Lane
from .._engine.lane.preparation import prepare
from .._engine.lane.slot import Task
from .._engine.prompt.prompter import Prompter
from .._system.forks import check_process
from .._system.threads import OwnThread
from .preparers import Preparers, is_large
from .routing import SeenPrefixes, choose, prefix_hashes

#: Loads an engine; the argument says whether loading has been given up.
Load: TypeAlias = Callable[[Callable[[], bool]], Engine]
_JOIN_SECONDS = 10.0


class LaneSeat:
    """A lane of this process, as a place for assignments.

    It shares no class with the seat of a worker (`poolinfer._executors.seats`), which knows its jobs, its age and
    what the worker says of itself. What both have in common is what `routing` asks for.

    Attributes:
        lane: the lane.
        load: how many jobs it has.
        trail: hashes of what it was given; see `poolinfer._executors.routing`.
    """

    __slots__ = ("lane", "load", "trail")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.load = 0
        self.trail = SeenPrefixes()


class LaneAssignment:
    """The executor's record of one accepted job. A lane does not die alone, so it counts no deaths.

    Attributes:
        job: the job.
        emit: takes the job's events.
        seat: where it runs.
        task: what the lane runs; None until the job is prepared.
        cancelled: whether somebody wants it to end.
    """

    __slots__ = ("cancelled", "emit", "job", "seat", "task")

    def __init__(self, job: Job, emit: Emit, seat: LaneSeat) -> None:
        self.job = job
        self.emit = emit
        self.seat = seat
        self.task: Task | None = None
        self.cancelled = False


class ThreadExecutor:
    """Runs jobs on lanes of this process (`poolinfer.executor.Executor`).

    Args:
        load: loads the engine that all lanes share.
        workers: the number of lanes, each with a thread of its own.
        lane: how each lane runs.
        flush: called after each step, and after each ending that no step gave rise to.
    """

    def __init__(
        self, load: Load, *, workers: int, lane: LaneSpec, flush: Callable[[], None] = lambda: None
    ) -> None:
        self._load = load
        self._spec = lane
        self._flush = flush
        self._workers = workers
        self._pid = os.getpid()
        # Reentrant: a signal handler, or a finaliser, may ask for stats while its thread holds it.
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._closing = False
        self._closed = threading.Event()
        self._jobs: dict[int, LaneAssignment] = {}
        self._seats: list[LaneSeat] = []
        self._threads: list[OwnThread] = []
        self._preparers: Preparers[LaneAssignment] = Preparers()
        self._engine: Engine | None = None

    def start(self, ready: Callable[[], None]) -> None:  # noqa: ARG002 - endings announce all room here
        """See `poolinfer.executor.Executor.start`."""
        check_process(self._pid, "executor")
        engine = self._load(lambda: self._closing)
        lanes: list[Lane] = []
        try:
            for _ in range(self._workers):
                lanes.append(Lane(engine, self._spec, flush=self._flush))
            self._launch(engine, lanes)
        except BaseException:
            self._abandon(lanes, engine)
            raise

    def _abandon(self, lanes: list[Lane], engine: Engine) -> None:
        """Give back what a failed start had made (no memory for a lane, no room for a thread)."""
        self._closing = True
        self._preparers.close()
        for lane in lanes:
            lane.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_JOIN_SECONDS)
        for lane in lanes:
            lane.discard()
        self._seats, self._threads, self._engine = [], [], None
        engine.close()

    def _launch(self, engine: Engine, lanes: list[Lane]) -> None:
        prompter = Prompter(engine, n_ctx=self._spec.n_ctx)
        threads = [OwnThread(lane.run, f"poolinfer-lane-{n}") for n, lane in enumerate(lanes)]
        threads += self._preparers.threads(
            partial(self._prepare, engine, prompter, Guides(engine)), self._turn_away
        )
        with self._lock:
            if self._closing:
                raise PoolClosed("the pool was closed while it was starting")
            self._engine, self._seats, self._threads = engine, list(map(LaneSeat, lanes)), threads
            for thread in threads:
                thread.start()

    def submit(self, job: Job, emit: Emit) -> bool:
        """See `poolinfer.executor.Executor.submit`."""
        check_process(self._pid, "executor")
        routes = self._spec.prefix_cache and self._workers > 1
        hashes, group = (prefix_hashes(job.request), job.group) if routes else ((), 0)
        large = is_large(job.request)
        with self._lock:
            if self._closing or not self._seats:
                return False
            free = [seat for seat in self._seats if seat.load < self._spec.slots]
            seat = choose(free, hashes, self._spec.slots, group)
            if seat is None:
                return False
            seat.load += 1
            seat.trail.add(hashes, group)
            assignment = self._jobs[job.id] = LaneAssignment(job, emit, seat)
            seat.lane.expect()
            self._preparers.put(assignment, large=large)
        return True

    def cancel(self, job_id: int) -> None:
        """See `poolinfer.executor.Executor.cancel`."""
        check_process(self._pid, "executor")
        with self._lock:
            assignment = self._jobs.get(job_id)
            if assignment is None:
                return
            assignment.cancelled = True
            task = assignment.task
        if task is not None:
            assignment.seat.lane.cancel(task)
        else:
            self._preparers.withdraw(assignment)

    @property
    def busy(self) -> int:
        """Slots taken."""
        return len(self._jobs)

    def stats(self) -> ExecutorStats:
        """See `poolinfer.executor.Executor.stats`."""
        check_process(self._pid, "executor")
        with self._lock:
            return ExecutorStats(
                workers=len(self._seats),
                slots=len(self._seats) * self._spec.slots,
                busy=len(self._jobs),
                **summed(seat.lane.counters for seat in self._seats),
            )

    def close(self, grace: float) -> None:
        """See `poolinfer.executor.Executor.close`."""
        check_process(self._pid, "executor")
        with self._lock:
            first, self._closing = not self._closing, True
        if not first:
            self._closed.wait(grace + _JOIN_SECONDS)
            return
        with self._lock:
            self._idle.wait_for(lambda: not self._jobs, grace)
        self._stop()
        self._closed.set()

    def _stop(self) -> None:
        deadline = time.monotonic() + _JOIN_SECONDS
        self._preparers.close()
        for seat in self._seats:
            seat.lane.close()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._engine is not None and not any(thread.is_alive() for thread in self._threads):
            self._engine.close()

    def _prepare(
        self, engine: Engine, prompter: Prompter, guides: Guides, assignment: LaneAssignment
    ) -> None:
        """On a preparer's thread: turn a job into a task, and hand it to its lane, or end it with its result."""
        emit, n_ctx = self._finisher(assignment), self._spec.n_ctx
        try:
            prepared = prepare(
                assignment.job, emit, engine, prompter, guides, n_ctx, lambda: assignment.cancelled
            )
        except PoolinferError as error:
            self._refuse(assignment, error)
            return
        except BaseException as error:  # SystemExit would end this thread in silence
            self._refuse(assignment, EngineError(f"the prompt could not be prepared: {error!r}"))
            return
        if not isinstance(prepared, Task):
            self._end(assignment, Done(prepared))
            return
        with self._lock:
            assignment.task = prepared
            prepared.cancelled = assignment.cancelled
        assignment.seat.lane.add(prepared)

    def _turn_away(self, assignment: LaneAssignment) -> None:
        """End a job whose preparation has not begun."""
        self._refuse(
            assignment, CallCancelled(CALL_WAS_CANCELLED if assignment.cancelled else POOL_WAS_CLOSED)
        )

    def _refuse(self, assignment: LaneAssignment, error: PoolinferError) -> None:
        self._end(assignment, Failed.of(error))

    def _end(self, assignment: LaneAssignment, ending: Done | Failed) -> None:
        """End a job that does not come to its lane."""
        assignment.seat.lane.unexpect()
        self._finisher(assignment)(ending)
        self._flush()

    def _finisher(self, assignment: LaneAssignment) -> Emit:
        """The job's emit, which gives the slot back before it passes the ending on (law L6)."""

        def emit(event: Event) -> None:
            if isinstance(event, Done | Failed):
                self._release(assignment)
            assignment.emit(event)

        return emit

    def _release(self, assignment: LaneAssignment) -> None:
        with self._lock:
            del self._jobs[assignment.job.id]
            assignment.seat.load -= 1
            if not self._jobs:
                self._idle.notify_all()
