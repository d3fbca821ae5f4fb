"""What a test of an executor works with: a started executor, and a witness for each job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .._checks.normalize import normalize
from .._data.events import Done, Event, Failed, Job, Started
from .._data.requests import Request
from .._executors.executor_protocol import Executor
from ._expect import check


class RecordedEvents:
    """Notes the events of one job.

    Attributes:
        events: all events of the job, in order.
        threads: the threads that emitted them.
        over: set when the ending has come.
        then: called after the ending was noted.
    """

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.events: list[Event] = []
        self.threads: set[threading.Thread] = set()
        self.over = threading.Event()
        self.then = then

    def __call__(self, event: Event) -> None:
        """Note an event."""
        self.events.append(event)
        self.threads.add(threading.current_thread())
        if isinstance(event, Done | Failed):
            self.over.set()
            self.then()

    @property
    def endings(self) -> list[Done | Failed]:
        """The endings so far."""
        return [event for event in self.events if isinstance(event, Done | Failed)]

    def wait(self, timeout: float) -> Done | Failed:
        """Wait for the ending."""
        check(self.over.wait(timeout), f"L1, L4: no ending within {timeout} s; so far {self.events[-3:]}")
        return self.endings[0]


class ExecutorUnderTest:
    """A started executor, and the jobs that a test offers to it.

    Args:
        executor: the executor, which is started here.
        patience: seconds that a test waits for room.

    Attributes:
        executor: the executor.
        room: set when the executor says that room may have appeared.
    """

    def __init__(self, executor: Executor, patience: float) -> None:
        self.executor = executor
        self.room = threading.Event()
        self._patience = patience
        self._next_id = 0
        executor.start(self.room.set)

    def job(self, request: Request) -> Job:
        """A new job for a request."""
        self._next_id += 1
        return Job(self._next_id, normalize(request))

    def try_submit(self, request: Request) -> tuple[int, RecordedEvents] | None:
        """Offer a job: its id and witness, or None when it was refused."""
        job, witness = self.job(request), RecordedEvents()
        taken = self.executor.submit(job, witness)
        check(isinstance(taken, bool), "submit answers True or False")
        return (job.id, witness) if taken else None

    def submit(self, request: Request) -> tuple[int, RecordedEvents]:
        """Offer jobs until one is taken: its id and witness."""
        deadline = time.monotonic() + self._patience
        while (found := self.try_submit(request)) is None:
            check(time.monotonic() < deadline, f"L6: no room within {self._patience} s")
            time.sleep(0.002)
        return found

    def fill(self, request: Request, most: int) -> list[tuple[int, RecordedEvents]]:
        """Offer jobs until one is refused, or `most` were taken."""
        found: list[tuple[int, RecordedEvents]] = []
        while len(found) < most and (one := self.try_submit(request)) is not None:
            found.append(one)
        return found


def check_order(events: list[Event]) -> None:
    """Check that a job's events are ``Started? Chunk* (Done | Failed)``."""
    check(bool(events) and isinstance(events[-1], Done | Failed), f"L1: the last event is {events[-1:]}")
    check(sum(isinstance(event, Done | Failed) for event in events) == 1, "L1: more than one ending")
    check(not any(isinstance(event, Started) for event in events[1:]), "L1: Started comes first, once")
