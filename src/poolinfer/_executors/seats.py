"""The jobs of an executor over workers, and the workers' seats for them."""

from __future__ import annotations

from collections.abc import Callable

from .._data.events import Emit, Event, Job, Started
from .._data.results import Chunk
from .._data.stats import ExecutorStats, summed
from .._system.logs import SafeLog
from .routing import SeenPrefixes, choose

_log = SafeLog()
#: Seconds that a job waits for a worker of its own before one worker takes no other jobs until it is empty.
_DRAIN_SECONDS = 5.0
_NEVER = float("inf")


class Assignment:
    """The executor's record of one accepted job.

    Attributes:
        job: the job.
        prefix_hashes: the prefix hashes of its request; see `poolinfer._executors.routing`.
        group: the job's group, where jobs of a group go together; else 0.
        seat: where it runs; None while it waits for a worker of its own.
        deaths: how many workers have died with it, or with an equal request.
        started: whether `Started` was emitted.
        seen: whether any text was emitted.
        cancelled: whether somebody wants it to end.
        kill_at: when its worker is killed for ignoring the cancel.
        waits_since: when it began to wait for a worker of its own.
    """

    __slots__ = (
        *("_emit", "cancelled", "deaths", "group", "job", "kill_at", "prefix_hashes"),
        *("seat", "seen", "started", "waits_since"),
    )

    def __init__(self, job: Job, emit: Emit, prefix_hashes: tuple[int, ...] = (), group: int = 0) -> None:
        self.job = job
        self.prefix_hashes = prefix_hashes
        self.group = group
        self._emit = emit
        self.seat: Seat | None = None
        self.deaths = 0
        self.started = self.seen = self.cancelled = False
        self.kill_at = self.waits_since = _NEVER

    def emit(self, event: Event) -> None:
        """Pass an event on. An error raised by what takes the event is logged, and has no other effect."""
        try:
            self._emit(event)
        except Exception:
            _log.exception("an event of job %d could not be passed on", self.job.id)

    def is_news(self, event: Event) -> bool:
        """Whether an event is to be passed on. The second `Started` of a job that runs again is not."""
        if isinstance(event, Started):
            if self.started or self.seen:
                return False
            self.started = True
        elif isinstance(event, Chunk):
            self.seen = True
        return True

    def leave(self) -> Seat | None:
        """Give the seat back.

        Returns:
            The seat that it had, if it had one.
        """
        seat, self.seat = self.seat, None
        if seat is not None:
            seat.jobs.pop(self.job.id, None)
        return seat


class Seat:
    """A worker that is up, as a place for assignments.

    Attributes:
        number: the link's number for the worker.
        since: when the worker came up.
        idle_since: when the worker's last job ended; infinity while it has jobs.
        jobs: the assignments that it has, by the jobs' ids.
        served: how many of its jobs have ended.
        stats: what the worker last said of itself.
        trail: hashes of what the worker was given; see `poolinfer._executors.routing`.
        retiring: whether the worker is to end as soon as it has no jobs.
        recycled: whether it is to end because it is old; another one replaces it.
    """

    __slots__ = (
        *("idle_since", "jobs", "number", "recycled", "retiring", "served"),
        *("since", "stats", "trail"),
    )

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.since = self.idle_since = now
        self.jobs: dict[int, Assignment] = {}
        self.served = 0
        self.stats = ExecutorStats()
        self.trail = SeenPrefixes()
        self.retiring = self.recycled = False

    @property
    def load(self) -> int:
        """How many jobs it has."""
        return len(self.jobs)

    @property
    def taken_alone(self) -> bool:
        """Whether one of its jobs may be deadly, and so must be the only one."""
        return any(assignment.deaths for assignment in self.jobs.values())

    def fits(self, assignment: Assignment, slots: int, others_wait: bool) -> bool:
        """Whether there is room for a job.

        Args:
            assignment: the job.
            slots: how many jobs the worker runs at once.
            others_wait: whether a job waits for a worker of its own, for which an empty one is kept.
        """
        if self.retiring:
            return False
        if assignment.deaths:
            return not self.jobs
        return int(others_wait) <= len(self.jobs) < slots and not self.taken_alone

    def serve(self, now: float) -> None:
        """Count a job that has ended."""
        self.served += 1
        self.idle_since = _NEVER if self.jobs else now

    def take(self, assignment: Assignment) -> None:
        """Give a job this seat."""
        self.jobs[assignment.job.id] = assignment
        self.trail.add(assignment.prefix_hashes, assignment.group)
        self.idle_since = _NEVER
        assignment.seat = self


class Seats(dict[int, Seat]):
    """The seats of all workers that are up, by the workers' numbers.

    Args:
        slots: how many jobs a worker runs at once.
        takes_work: says whether the worker with a number takes work (`Link.takes_work`).

    Attributes:
        waiting: assignments that wait for a worker of their own, by the jobs' ids.
    """

    def __init__(self, slots: int, takes_work: Callable[[int], bool]) -> None:
        super().__init__()
        self._slots = slots
        self._takes_work = takes_work
        self.waiting: dict[int, Assignment] = {}
        self._past: list[ExecutorStats] = []

    @property
    def retiring(self) -> bool:
        """Whether a worker is about to go."""
        return any(seat.retiring for seat in self.values())

    def wait(self, assignment: Assignment, now: float) -> None:
        """Have a job wait for a worker of its own."""
        assignment.waits_since = now
        self.waiting[assignment.job.id] = assignment

    def choose(self, assignment: Assignment, now: float) -> Seat | None:
        """The seat for a job, of those that have room; see `poolinfer._executors.routing`.

        A job that may be deadly gets a worker of its own. While such a job waits, an empty seat is kept for it.
        Once it has waited for long, the seat with the fewest jobs gets no more, so that it becomes empty.
        """
        first = None if assignment.deaths else next(iter(self.waiting.values()), None)
        fitting = [
            seat
            for seat in self.values()
            if seat.fits(assignment, self._slots, first is not None) and self._takes_work(seat.number)
        ]
        if first is not None and now >= first.waits_since + _DRAIN_SECONDS:
            draining = self._draining()
            fitting = [seat for seat in fitting if seat is not draining]
        return choose(fitting, assignment.prefix_hashes, self._slots, assignment.group)

    def _draining(self) -> Seat | None:
        """The seat that becomes empty first if it gets no more jobs.

        None where a job has a worker of its own: that seat becomes empty anyway.
        """
        if any(seat.taken_alone for seat in self.values()):
            return None
        return min(self.values(), key=lambda seat: seat.load, default=None)

    def remove(self, number: int) -> Seat:
        """Take the seat of a worker away. What it has done goes on counting."""
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
