"""The seating: an executor that gives jobs to workers behind a link.

    submit ──> Seats.choose ──Link.send──> worker ──> Link ──on_message──> emit

Which worker gets a job is decided here: by free slots, by what a worker has seen (`routing`), and by what a request
has done before (`quarantine`). What a worker is, and how bytes reach it, only the link knows.

A call of which nothing was seen survives the death of its worker: it is run once more, alone in a worker. If that
one dies, too, the call is to blame, and no other call is lost.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import asdict, replace

from .._data.errors import (
    CALL_WAS_CANCELLED,
    POOL_WAS_CLOSED,
    CallCancelled,
    InvalidRequest,
    PoolBroken,
    PoolinferError,
    WorkerLost,
)
from .._data.events import Done, Emit, Event, Failed, Job
from .._data.stats import ExecutorStats, SeatingCounts
from .._system.forks import check_process
from .._wire.codec import WireError
from .._wire.frames import Burst, Cancel, Pong, Submit, frame
from .quarantine import Quarantine
from .routing import prefix_hashes
from .seats import Assignment, Seat, Seats
from .sizing import Sizer, Sizing
from .workers.death import Death
from .workers.link import Link


class Seating:
    """Runs jobs on the workers of a link (`poolinfer.executor.Executor`).

    Args:
        link: how workers are reached.
        slots: how many jobs a worker runs at once.
        sizing: how many workers there are to be, and how long each is to live.
        retries: how often a call is run again after the death of its worker, if nothing of it was seen.
        cancel_grace: seconds that a worker may ignore a cancel before it is killed.
        routes: whether calls go to workers that have seen their beginnings.
    """

    def __init__(
        self, link: Link, *, slots: int, sizing: Sizing, retries: int, cancel_grace: float, routes: bool
    ) -> None:
        self._link = link
        self._slots = slots
        self._retries = retries
        self._cancel_grace = cancel_grace
        self._routes = routes
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._ready: Callable[[], None] = lambda: None
        self._closing = False
        self._closed = threading.Event()
        self._broken = ""
        self._counts = SeatingCounts()
        self._jobs: dict[int, Assignment] = {}
        self._seats = Seats(slots, link.takes_work)
        self._sizer = Sizer(sizing, self._seats, link)
        self._quarantine = Quarantine()

    def start(self, ready: Callable[[], None]) -> None:
        """See `poolinfer.executor.Executor.start`."""
        check_process(self._pid, "executor")
        self._ready = ready
        self._link.start(self, self._sizer.size)

    def submit(self, job: Job, emit: Emit) -> bool:
        """See `poolinfer.executor.Executor.submit`."""
        check_process(self._pid, "executor")
        route = (prefix_hashes(job.request), job.group) if self._routes else ((), 0)
        assignment = Assignment(job, emit, *route)
        assignment.deaths = self._quarantine.deaths(job.request)
        with self._lock:
            if self._closing:
                return False
            refusal = self._refusal(assignment)
            seat = None if refusal else self._seats.choose(assignment, self._link.now)
            if refusal is None and seat is None:
                self._link.run_soon(self._grow)
                # One that needs a worker of its own waits here for it, and not before all others; a few may.
                if not assignment.deaths or len(self._seats.waiting) >= self._slots:
                    return False
                self._seats.wait(assignment, self._link.now)
            self._jobs[job.id] = assignment
            if seat is not None:
                seat.take(assignment)
        if refusal is not None:
            self._fail_soon(assignment, refusal)
        elif seat is not None:
            self._send(assignment, seat)
        return True

    def cancel(self, job_id: int) -> None:
        """See `poolinfer.executor.Executor.cancel`."""
        check_process(self._pid, "executor")
        with self._lock:
            assignment = self._jobs.get(job_id)
            if assignment is None or assignment.cancelled:
                return
            assignment.cancelled = True
            seat = assignment.seat
        if seat is None:
            self._link.run_soon(self._seat_waiting)
        else:
            self._link.send(seat.number, frame(Cancel(job_id)))

    def stats(self) -> ExecutorStats:
        """See `poolinfer.executor.Executor.stats`."""
        check_process(self._pid, "executor")
        with self._lock:
            return replace(
                self._seats.stats(),
                busy=len(self._jobs),
                broken=bool(self._broken),
                **asdict(self._counts),
            )

    def close(self, grace: float) -> None:
        """See `poolinfer.executor.Executor.close`."""
        check_process(self._pid, "executor")
        with self._lock:
            first, self._closing = not self._closing, True
            if first:
                self._idle.wait_for(lambda: not self._jobs, grace)
        if not first:
            self._closed.wait()
            return
        try:
            self._link.close()
            for assignment in list(self._jobs.values()):
                self._fail(assignment, CallCancelled(POOL_WAS_CLOSED))
        finally:
            self._closed.set()

    def on_up(self, number: int) -> None:
        """See `LinkOwner.on_up`: there is room again."""
        with self._lock:
            self._seats[number] = Seat(number, self._link.now)
        self._seat_waiting()
        self._ready()

    def on_message(self, number: int, message: Pong | Burst) -> bool:
        """See `LinkOwner.on_message`: events of jobs, or what the worker says of itself."""
        seat = self._seats[number]
        if isinstance(message, Pong):
            # A lane that is stuck cannot move the count of its steps.
            progress = message.stats.steps != seat.stats.steps or not message.stats.busy
            seat.stats = message.stats
            return progress
        for job_id, event in message.events:
            self._deliver(seat, job_id, event)
        return True

    def on_down(self, number: int, death: Death) -> bool:
        """See `LinkOwner.on_down`: run again what may run again, and fail the rest."""
        with self._lock:
            seat = self._seats.remove(number)
            assignments = list(seat.jobs.values())
            self._counts.crashed += not death.expected
            self._counts.recycled += death.expected and seat.recycled
            fates = [(assignment, self._fate(assignment, death)) for assignment in assignments]
        for assignment, error in fates:
            if error is not None:
                self._fail(assignment, error)
        self._seat_waiting()
        return bool(assignments)

    def on_broken(self, reason: str) -> None:
        """See `LinkOwner.on_broken`: every job fails, and so does each that is still to come."""
        with self._lock:
            self._broken = reason
            assignments = list(self._jobs.values())
        for assignment in assignments:
            self._fail(assignment, PoolBroken(reason))
        self._ready()

    def on_tick(self) -> None:
        """See `LinkOwner.on_tick`: kill workers that ignore a cancel, and let those go that are not needed."""
        now = self._link.now
        with self._lock:
            cancelled = [assignment for assignment in self._jobs.values() if assignment.cancelled]
            found = [(assignment, assignment.seat) for assignment in cancelled]
        for assignment, seat in found:
            assignment.kill_at = min(assignment.kill_at, now + self._cancel_grace)
            if seat is not None and now >= assignment.kill_at:
                self._link.kill(seat.number, f"it ignored a cancel for {self._cancel_grace} s")
        self._shrink(now)

    def _refusal(self, assignment: Assignment) -> PoolinferError | None:
        """Why a job is not run at all; it is taken, and fails, so that its owner hears of it."""
        if self._broken:
            return PoolBroken(self._broken)
        if assignment.deaths > 1:
            return WorkerLost("refused: two workers have died while they ran this request", suspect=True)
        return None

    def _send(self, assignment: Assignment, seat: Seat) -> None:
        try:
            data = frame(Submit(assignment.job))
        except WireError as error:
            message = f"prompt: the request cannot be sent to a worker ({error})"
            self._fail_soon(assignment, InvalidRequest(message, field="prompt"))
            return
        self._link.send(seat.number, data)
        if assignment.cancelled:
            # The cancel's own frame may have gone before the job's, and meant nothing to the worker.
            self._link.send(seat.number, frame(Cancel(assignment.job.id)))

    def _grow(self) -> None:
        """A call finds no room: want one more worker, if there may be one more."""
        with self._lock:
            if self._closing or not self._sizer.grow():
                return
            size = self._sizer.size
        self._link.resize(size)

    def _shrink(self, now: float) -> None:
        """Have one idle worker end that is one too many, or too old."""
        with self._lock:
            leaving, size = self._sizer.choose_leaving(now), self._sizer.size
        if leaving is None:
            return
        if not leaving.recycled:
            self._link.resize(size)
        self._link.retire(leaving.number)

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
            return CallCancelled(CALL_WAS_CANCELLED if assignment.cancelled else POOL_WAS_CLOSED)
        assignment.deaths += 1
        if self._may_run_again(assignment):
            self._seats.wait(assignment, self._link.now)
            return None
        if assignment.deaths > 1 or not death.from_outside:
            self._quarantine.add(assignment.job.request, assignment.deaths)
        return (
            CallCancelled(CALL_WAS_CANCELLED) if assignment.cancelled else death.lost(assignment.deaths > 1)
        )

    def _may_run_again(self, assignment: Assignment) -> bool:
        if assignment.deaths > 1 or not self._retries:
            return False
        return not (assignment.seen or assignment.cancelled or self._broken)

    def _seat_waiting(self) -> None:
        """Give jobs that wait for a worker of their own the workers that are free, and end those cancelled."""
        for assignment in list(self._seats.waiting.values()):
            with self._lock:
                if assignment.job.id not in self._seats.waiting:
                    continue
                seat = None if assignment.cancelled else self._seats.choose(assignment, self._link.now)
                if seat is not None:
                    del self._seats.waiting[assignment.job.id]
                    seat.take(assignment)
            if assignment.cancelled:
                self._fail(assignment, CallCancelled(CALL_WAS_CANCELLED))
            elif seat is not None:
                self._send(assignment, seat)
                self._ready()

    def _fail_soon(self, assignment: Assignment, error: PoolinferError) -> None:
        """Fail a job on the link's thread (law L2)."""
        self._link.run_soon(lambda: self._fail(assignment, error))

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
                self._sizer.count_served(seat, self._link.now)
            if not self._jobs:
                self._idle.notify_all()
        if assignment.deaths and isinstance(event, Done):
            self._quarantine.forget(assignment.job.request)
        if seat is not None and seat.retiring and not seat.jobs:
            self._link.retire(seat.number)
        self._seat_waiting()
        assignment.emit(event)
