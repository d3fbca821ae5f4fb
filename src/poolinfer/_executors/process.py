"""The process executor: lanes in supervised child processes, so that a native crash costs one worker.

    submit ──> the worker with most free slots ──frames──> its lane ──frames──> the supervisor's thread ──> emit

A call of which nothing was seen survives the death of its worker: it is run once more, alone in a worker, so
that a second death is proof against it and costs nobody else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from .._data.errors import CallCancelled, ForkedPool, InvalidRequest, PoolBroken, PoolinferError, WorkerLost
from .._data.events import Done, Emit, Event, Failed, Job
from .._data.specs import LaneSpec, ModelSpec
from .._data.stats import ExecutorStats
from .._system.logs import wanted
from .._wire.codec import WireError
from .._wire.frames import Boot, Burst, Cancel, FromWorker, Pong, Submit, frame
from .quarantine import Quarantine
from .routing import path
from .seats import Assignment, Seat, Seats
from .sizing import Sizing
from .workers.death import Death
from .workers.patience import Patience
from .workers.spawner import ExecSpawner, Spawner, WorkerProgram
from .workers.supervisor import Supervisor
from .workers.worker import Worker
from .workers.zygote import ZygoteSpawner

_NEVER = float("inf")


class ProcessExecutor:
    """Runs jobs on lanes in child processes (`poolinfer.executor.Executor`).

    Args:
        spec: the model.
        lane: how each worker runs it.
        workers: processes, of one lane each; None for what `sizing` says.
        share: ``"mmap"`` keeps all weights in the mapped file, which workers share; ``"repack"`` lets each
            copy part of them into a layout made for the processor, in memory of its own.
        retries: how often a call is run again after the death of its worker, if nothing of it was seen.
        sizing: how many workers there are to be, and how long each is to live.
        prefork: whether they are forked by a zygote that has loaded the weights, instead of started by exec.
        cancel_grace: seconds (or two latency targets) that a worker may ignore a cancel before it is killed.
        patience: all other times.
        program: what the worker processes run.
        spawner: starts worker processes; None to start interpreters.
    """

    def __init__(
        self,
        spec: ModelSpec,
        lane: LaneSpec,
        *,
        workers: int | None = None,
        share: Literal["mmap", "repack"] = "mmap",
        retries: int = 1,
        sizing: Sizing = Sizing(),  # noqa: B008 - frozen
        prefork: bool = False,
        cancel_grace: float = 15.0,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        program: WorkerProgram = WorkerProgram(),  # noqa: B008 - frozen
        spawner: Spawner | None = None,
    ) -> None:
        self._boot = Boot(program.factory, replace(spec, repack=share == "repack"), lane, program.knobs)
        self._retries = retries
        self._sizing = sizing if workers is None else replace(sizing, least=workers, most=workers)
        self._cancel_grace = max(cancel_grace, 2 * lane.latency_target)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._ready: Callable[[], None] = lambda: None
        self._closing = False
        self._closed = threading.Event()
        self._broken = ""
        self._crashed = self._recycled = 0
        self._jobs: dict[int, Assignment] = {}
        self._seats = Seats(lane.slots)
        self._routes = lane.prefix_cache and self._sizing.most > 1
        self._quarantine = Quarantine()
        self._spawner = spawner or (
            ZygoteSpawner(program.zygote_main, self._boot) if prefork else ExecSpawner(program.worker_main)
        )
        self._supervisor = Supervisor(self, self._spawner, self._sizing.least, patience)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, booting ones included."""
        return self._supervisor.pids

    @property
    def zygote(self) -> int | None:
        """Process id of the zygote, while there is one."""
        return self._spawner.pid if isinstance(self._spawner, ZygoteSpawner) else None

    def start(self, ready: Callable[[], None]) -> None:
        """See `poolinfer.executor.Executor.start`."""
        self._check_process()
        self._ready = ready
        self._supervisor.start()

    def submit(self, job: Job, emit: Emit) -> bool:
        """See `poolinfer.executor.Executor.submit`."""
        self._check_process()
        assignment = Assignment(job, emit, path(job.request) if self._routes else ())
        assignment.deaths = self._quarantine.deaths(job.request)
        with self._lock:
            if self._closing:
                return False
            refusal = self._refusal(assignment)
            seat = None if refusal else self._seats.choose(assignment, self._supervisor.now)
            if refusal is None and seat is None:
                self._supervisor.call(self._grow)
                # One that needs a worker of its own waits here for it, and not before all others; a few may.
                if not assignment.deaths or len(self._seats.waiting) >= self._boot.lane.slots:
                    return False
                self._seats.wait(assignment, self._supervisor.now)
            self._jobs[job.id] = assignment
            if seat is not None:
                seat.take(assignment)
        if refusal is not None:
            self._supervisor.call(lambda: self._fail(assignment, refusal))
        elif seat is not None:
            self._send(assignment, seat)
        return True

    def cancel(self, job_id: int) -> None:
        """See `poolinfer.executor.Executor.cancel`."""
        self._check_process()
        with self._lock:
            assignment = self._jobs.get(job_id)
            if assignment is None or assignment.cancelled:
                return
            assignment.cancelled = True
            seat = assignment.seat
        if seat is None:
            self._supervisor.call(self._place_again)
        else:
            self._supervisor.post(seat.worker, frame(Cancel(job_id)))

    def stats(self) -> ExecutorStats:
        """See `poolinfer.executor.Executor.stats`."""
        self._check_process()
        with self._lock:
            return replace(
                self._seats.stats(),
                busy=len(self._jobs),
                crashed=self._crashed,
                recycled=self._recycled,
                broken=bool(self._broken),
            )

    def close(self, grace: float) -> None:
        """See `poolinfer.executor.Executor.close`."""
        self._check_process()
        with self._lock:
            first, self._closing = not self._closing, True
            if first:
                self._idle.wait_for(lambda: not self._jobs, grace)
        if not first:
            self._closed.wait()
            return
        try:
            self._supervisor.close()
            for assignment in list(self._jobs.values()):
                self._fail(assignment, CallCancelled("the pool was closed before the call ended"))
        finally:
            self._closed.set()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedPool("this pool belongs to the parent process; make a new pool after forking")

    def _refusal(self, assignment: Assignment) -> PoolinferError | None:
        """Why a job is not run at all; it is taken, and fails, so that its owner hears of it."""
        if self._broken:
            return PoolBroken(self._broken)
        if assignment.deaths > 1:
            return WorkerLost("refused: it has been in the death of two workers", suspect=True)
        return None

    def _send(self, assignment: Assignment, seat: Seat) -> None:
        try:
            data = frame(Submit(assignment.job))
        except WireError as error:
            refusal = InvalidRequest(
                f"prompt: the request cannot be sent to a worker ({error})", field="prompt"
            )
            self._supervisor.call(lambda: self._fail(assignment, refusal))
            return
        self._supervisor.post(seat.worker, data)
        if assignment.cancelled:
            # Its own frame may have gone first, and meant nothing to the worker.
            self._supervisor.post(seat.worker, frame(Cancel(assignment.job.id)))

    def boot_message(self) -> Boot:
        """See `poolinfer._executors.workers.link.Owner`, as for the five that follow."""
        return replace(self._boot, levels=wanted())

    def on_up(self, worker: Worker) -> None:
        """There is room again."""
        with self._lock:
            self._seats[worker.number] = Seat(worker, self._supervisor.now)
        self._place_again()
        self._ready()

    def on_message(self, worker: Worker, message: FromWorker) -> None:
        """Events of jobs, or a sign of life."""
        seat = self._seats[worker.number]
        if isinstance(message, Pong):
            if message.stats.steps != seat.stats.steps or not message.stats.busy:
                worker.heard = self._supervisor.now
            seat.stats = message.stats
        elif isinstance(message, Burst):
            worker.heard = self._supervisor.now
            for job_id, event in message.events:
                self._deliver(seat, job_id, event)

    def on_down(self, worker: Worker, death: Death) -> bool:
        """Run again what may be, and fail the rest."""
        with self._lock:
            seat = self._seats.remove(worker.number)
            assignments = list(seat.jobs.values())
            self._crashed += not death.expected
            self._recycled += death.expected and seat.recycled
            fates = [(assignment, self._fate(assignment, death)) for assignment in assignments]
        for assignment, error in fates:
            if error is not None:
                self._fail(assignment, error)
        self._place_again()
        return bool(assignments)

    def on_broken(self, reason: str) -> None:
        """Every job fails; so does each that is still to come, so that none waits for ever."""
        with self._lock:
            self._broken = reason
            assignments = list(self._jobs.values())
        for assignment in assignments:
            self._fail(assignment, PoolBroken(reason))
        self._ready()

    def on_tick(self) -> None:
        """Kill workers that ignore a cancel, and let those go that are not needed."""
        now = self._supervisor.now
        with self._lock:
            found = [
                (assignment, assignment.seat) for assignment in self._jobs.values() if assignment.cancelled
            ]
        for assignment, seat in found:
            assignment.kill_at = min(assignment.kill_at, now + self._cancel_grace)
            if seat is not None and now >= assignment.kill_at:
                self._supervisor.kill(seat.worker, f"it ignored a cancel for {self._cancel_grace} s")
        self._shrink(now)

    def _grow(self) -> None:
        """A call finds no room: one more worker, if there may be and none is on its way."""
        size = self._supervisor.size
        if size < self._sizing.most and self._supervisor.settled and not self._closing:
            self._supervisor.resize(size + 1)

    def _shrink(self, now: float) -> None:
        """Retire one idle worker that is too many, or too old."""
        with self._lock:
            seats = list(self._seats.values())
            surplus = self._sizing.surplus(seats, self._supervisor.size, now)
            old = (seat for seat in seats if not seat.jobs and self._sizing.is_old(seat, now))
            leaving = surplus or next(old, None)
            if leaving is None or not self._complete:
                return
            leaving.retiring, leaving.recycled = True, surplus is None
        if surplus is not None:
            self._supervisor.resize(self._supervisor.size - 1)
        self._supervisor.retire(leaving.worker)

    def _deliver(self, seat: Seat, job_id: int, event: Event) -> None:
        assignment = seat.jobs.get(job_id)
        if assignment is None:
            if self._broken:
                return
            raise WireError(f"an event for job {job_id}, which the worker does not have")
        if isinstance(event, Done | Failed):
            self._end(assignment, event)
        elif assignment.is_news(event):
            assignment.emit(event)

    def _fate(self, assignment: Assignment, death: Death) -> PoolinferError | None:
        """What becomes of a job whose worker has ended: an error, or None when it runs again."""
        assignment.leave()
        if death.expected:
            return CallCancelled("the call was cancelled" if assignment.cancelled else "the pool was closed")
        assignment.deaths += 1
        if (
            assignment.deaths == 1
            and self._retries
            and not (assignment.seen or assignment.cancelled or self._broken)
        ):
            self._seats.wait(assignment, self._supervisor.now)
            return None
        if assignment.deaths > 1 or not death.from_outside:
            self._quarantine.add(assignment.job.request, assignment.deaths)
        return (
            CallCancelled("the call was cancelled")
            if assignment.cancelled
            else death.lost(assignment.deaths > 1)
        )

    def _place_again(self) -> None:
        """Give re-runs the workers that are free for them."""
        for assignment in list(self._seats.waiting.values()):
            with self._lock:
                if assignment.job.id not in self._seats.waiting:
                    continue
                seat = None if assignment.cancelled else self._seats.choose(assignment, self._supervisor.now)
                if seat is not None:
                    del self._seats.waiting[assignment.job.id]
                    seat.take(assignment)
            if assignment.cancelled:
                self._fail(assignment, CallCancelled("the call was cancelled"))
            elif seat is not None:
                self._send(assignment, seat)
                self._ready()

    def _fail(self, assignment: Assignment, error: PoolinferError) -> None:
        self._end(assignment, Failed.of(error))

    def _end(self, assignment: Assignment, event: Done | Failed) -> None:
        """Give a job's room back, and then say its ending (law L6)."""
        with self._lock:
            if self._jobs.pop(assignment.job.id, None) is not assignment:
                return
            self._seats.waiting.pop(assignment.job.id, None)
            seat = assignment.leave()
            if seat is not None:
                self._served(seat)
            if not self._jobs:
                self._idle.notify_all()
        if assignment.deaths and isinstance(event, Done):
            self._quarantine.forget(assignment.job.request)
        if seat is not None and seat.retiring and not seat.jobs:
            self._supervisor.retire(seat.worker)
        self._place_again()
        assignment.emit(event)

    def _served(self, seat: Seat) -> None:
        """One more job has ended there; the lock is held."""
        seat.serve(now := self._supervisor.now)
        if not seat.retiring and self._complete and self._sizing.is_old(seat, now):
            seat.retiring = seat.recycled = True

    @property
    def _complete(self) -> bool:
        """Whether no worker is missing or about to be: they are replaced one at a time."""
        return self._supervisor.settled and not self._seats.retiring
