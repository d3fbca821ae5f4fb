"""Who sits where: the jobs of an executor over workers, and the workers' places for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .._events import Event, Job
from .._executor import Emit, ExecutorStats
from .ladder import Worker

_log = logging.getLogger("poolinfer")


class Entry:
    """One accepted job.

    Attributes:
        job: it.
        seat: where it runs, or None while it waits to run again.
        deaths: workers that died while they had it.
        started: whether `Started` was said; `seen`: whether any of its text was.
        cancelled: whether its end is wanted.
        kill_at: when the worker that ignores this is killed.
    """

    __slots__ = ("_emit", "cancelled", "deaths", "job", "kill_at", "seat", "seen", "started")

    def __init__(self, job: Job, emit: Emit) -> None:
        self.job = job
        self._emit = emit
        self.seat: Seat | None = None
        self.deaths = 0
        self.started = self.seen = self.cancelled = False
        self.kill_at = float("inf")

    def emit(self, event: Event) -> None:
        """Say an event; what a listener raises is its own affair."""
        try:
            self._emit(event)
        except Exception:
            _log.exception("a listener of job %d failed", self.job.id)

    def leave(self, *, served: bool = False) -> None:
        """Give the seat back."""
        seat, self.seat = self.seat, None
        if seat is not None:
            seat.jobs.pop(self.job.id, None)
            seat.served += served


class Seat:
    """A worker that is up, and its jobs.

    Attributes:
        worker: it.
        jobs: those that it has, by id.
        served: jobs that it has ended.
        stats: what it last said of itself.
        retiring: whether it is to be replaced as soon as it has nothing to do.
    """

    __slots__ = ("jobs", "retiring", "served", "stats", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.jobs: dict[int, Entry] = {}
        self.served = 0
        self.stats = ExecutorStats()
        self.retiring = False

    def fits(self, entry: Entry, slots: int, waiting: bool) -> bool:
        """Whether it has room for a job; `waiting`: others are to run again, for which it keeps empty."""
        if self.retiring or self.worker.state != "up" or self.worker.why:
            return False
        if entry.deaths or waiting:
            return not self.jobs if entry.deaths else 0 < len(self.jobs) < slots and not self._taken_alone
        return len(self.jobs) < slots and not self._taken_alone

    @property
    def _taken_alone(self) -> bool:
        return any(entry.deaths for entry in self.jobs.values())

    def take(self, entry: Entry) -> None:
        """Seat a job."""
        self.jobs[entry.job.id] = entry
        entry.seat = self


def total(parts: Sequence[ExecutorStats], seats: Sequence[Seat], slots: int, busy: int) -> ExecutorStats:
    """Counters summed up, with the gauges of the seats."""
    return ExecutorStats(
        workers=len(seats),
        slots=len(seats) * slots,
        busy=busy,
        steps=sum(part.steps for part in parts),
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        step_seconds=sum(part.step_seconds for part in parts),
    )


def rss(pid: int) -> int:
    """Resident bytes of a process; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def pss(pid: int) -> int:
    """What a process costs: its resident bytes, with shared ones counted in shares; 0 where unknown."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
