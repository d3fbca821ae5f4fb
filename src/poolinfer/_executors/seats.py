"""Who sits where: the jobs of an executor over workers, and the workers' places for them."""

from __future__ import annotations

from .._data.events import Emit, Event, Job, Started
from .._data.results import Chunk
from .._data.stats import ExecutorStats, summed
from .._system.logs import SafeLog
from .routing import Trail, choose
from .workers.worker import Worker

_log = SafeLog()
#: How long a job may wait for a worker of its own before one takes no other jobs until it is empty.
_DRAIN_SECONDS = 5.0


class Assignment:
    """One accepted job.

    Attributes:
        job: it.
        path: how it begins; see `poolinfer._executors.routing`.
        seat: where it runs, or None while it waits to run again.
        deaths: how many workers died with it, or with an equal request.
        started: whether `Started` was said; `seen`: whether any of its text was.
        cancelled: whether its end is wanted.
        kill_at: when the worker that ignores this is killed.
        waits_since: since when it has waited for a worker of its own.
    """

    __slots__ = (
        *("_emit", "cancelled", "deaths", "job", "kill_at"),
        *("path", "seat", "seen", "started", "waits_since"),
    )

    def __init__(self, job: Job, emit: Emit, path: tuple[int, ...] = ()) -> None:
        self.job = job
        self.path = path
        self._emit = emit
        self.seat: Seat | None = None
        self.deaths = 0
        self.started = self.seen = self.cancelled = False
        self.kill_at = self.waits_since = float("inf")

    def emit(self, event: Event) -> None:
        """Say an event; what a listener raises is its own affair."""
        try:
            self._emit(event)
        except Exception:
            _log.exception("a listener of job %d failed", self.job.id)

    def is_news(self, event: Started | Chunk) -> bool:
        """Whether its listener has not heard this; a job that runs again starts again."""
        if isinstance(event, Started) and (self.started or self.seen):
            return False
        self.started = True
        self.seen = self.seen or isinstance(event, Chunk)
        return True

    def leave(self) -> Seat | None:
        """Give the seat back; which it was."""
        seat, self.seat = self.seat, None
        if seat is not None:
            seat.jobs.pop(self.job.id, None)
        return seat


class Seat:
    """A worker that is up, and its jobs.

    Attributes:
        worker: it.
        since: when it came up.
        idle_since: since when it has had nothing to do; infinity while it has.
        jobs: those that it has, by id.
        served: jobs that it has ended.
        stats: what it last said of itself.
        trail: what it was given.
        retiring: whether it ends as soon as it has nothing to do; `recycled`: because it is old.
    """

    __slots__ = (
        *("idle_since", "jobs", "recycled", "retiring", "served", "since"),
        *("stats", "trail", "worker"),
    )

    def __init__(self, worker: Worker, now: float) -> None:
        self.worker = worker
        self.since = self.idle_since = now
        self.jobs: dict[int, Assignment] = {}
        self.served = 0
        self.stats = ExecutorStats()
        self.trail = Trail()
        self.retiring = self.recycled = False

    @property
    def load(self) -> int:
        """How many jobs it has."""
        return len(self.jobs)

    def fits(self, assignment: Assignment, slots: int, waiting: bool) -> bool:
        """Whether it has room for a job; `waiting`: others are to run again, for which it keeps empty."""
        if self.retiring or self.worker.state != "up" or self.worker.why:
            return False
        if assignment.deaths:
            return not self.jobs
        return int(waiting) <= len(self.jobs) < slots and not self.taken_alone

    @property
    def taken_alone(self) -> bool:
        """Whether it has a job that is to cost nobody else."""
        return any(assignment.deaths for assignment in self.jobs.values())

    def serve(self, now: float) -> None:
        """One of its jobs has ended."""
        self.served += 1
        self.idle_since = float("inf") if self.jobs else now

    def take(self, assignment: Assignment) -> None:
        """Seat a job."""
        self.jobs[assignment.job.id] = assignment
        self.trail.add(assignment.path)
        self.idle_since = float("inf")
        assignment.seat = self


class Seats(dict[int, Seat]):
    """The seats of all workers that are up, by the workers' numbers.

    Attributes:
        waiting: jobs that may be deadly and wait for a worker of their own, by id.
    """

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots
        self.waiting: dict[int, Assignment] = {}
        self._past: list[ExecutorStats] = []

    @property
    def retiring(self) -> bool:
        """Whether one is about to go."""
        return any(seat.retiring for seat in self.values())

    def wait(self, assignment: Assignment, now: float) -> None:
        """Have a job wait for an empty seat."""
        assignment.waits_since = now
        self.waiting[assignment.job.id] = assignment

    def choose(self, assignment: Assignment, now: float) -> Seat | None:
        """The seat for a job, of those that it `fits`; see `poolinfer._executors.routing`.

        One that may be deadly has it alone. While such a job waits, an empty seat is kept for it; once it has
        waited for long, the seat with the least to do is left to become empty.
        """
        first = None if assignment.deaths else next(iter(self.waiting.values()), None)
        fitting = [seat for seat in self.values() if seat.fits(assignment, self._slots, first is not None)]
        if first is not None and now >= first.waits_since + _DRAIN_SECONDS:
            draining = self._draining()
            fitting = [seat for seat in fitting if seat is not draining]
        return choose(fitting, assignment.path, self._slots)

    def _draining(self) -> Seat | None:
        """The seat that is empty next, if it gets no more; None where one that is taken alone will be."""
        if any(seat.taken_alone for seat in self.values()):
            return None
        return min(self.values(), key=lambda seat: seat.load, default=None)

    def remove(self, number: int) -> Seat:
        """Take the seat of a worker away; what it has done goes on counting."""
        seat = self.pop(number)
        self._past = [ExecutorStats(**summed([*self._past, seat.stats]))]
        return seat

    def stats(self) -> ExecutorStats:
        """What all workers have done, with the gauges of those that are up."""
        return ExecutorStats(
            **summed([*self._past, *(seat.stats for seat in self.values())]),
            workers=len(self),
            slots=len(self) * self._slots,
            memory=tuple(memory for seat in self.values() for memory in seat.stats.memory),
        )
