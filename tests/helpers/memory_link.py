"""A link without processes, threads and time, and a seating over it: a test plays the workers, step by step."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from poolinfer._checks.normalize import normalize
from poolinfer._data.events import Event, Job
from poolinfer._data.requests import Request
from poolinfer._executors.seating import Seating
from poolinfer._executors.sizing import Sizing
from poolinfer._executors.workers.death import Death, ExitStatus
from poolinfer._executors.workers.link import Link, LinkOwner
from poolinfer._wire.codec import WireError
from poolinfer._wire.frames import (
    Burst,
    Cancel,
    FrameReader,
    Pong,
    Submit,
    frame,
    read_from_worker,
    read_to_worker,
)

LEFT = Death(ExitStatus(), "", expected=True)
CRASHED = Death(ExitStatus(signal=11), "")
KILLED = Death(ExitStatus(signal=9), "")


class MemoryLink:
    """Workers are numbers, and what is sent to them is kept.

    Attributes:
        owner: what the link reports to.
        now: the time, which passes when a test says so.
        size: how many workers are wanted.
        up: workers that are up.
        deaf: workers that take no work, though they are up.
        bytes: the memory of workers, by number.
        killed: why workers were killed, by number.
    """

    def __init__(self, *, comes_by_itself: bool = False) -> None:
        self.owner: LinkOwner
        self.now = 0.0
        self.size = 0
        self.up: list[int] = []
        self.deaf: set[int] = set()
        self.bytes: dict[int, int] = {}
        self.killed: dict[int, str] = {}
        self._comes_by_itself = comes_by_itself
        self._numbers = itertools.count(1)
        self._sent: dict[int, deque[bytes]] = defaultdict(deque)
        self._functions: deque[Callable[[], None]] = deque()

    @property
    def settled(self) -> bool:
        return self._comes_by_itself or len(self.up) == self.size

    def start(self, owner: LinkOwner, size: int) -> None:
        self.owner, self.size = owner, size
        while not self.settled:
            self.come()

    def close(self) -> None:
        for number in list(self.up):
            self.go(number, LEFT)

    def run_soon(self, function: Callable[[], None]) -> None:
        self._functions.append(function)

    def send(self, number: int, data: bytes) -> None:
        if number in self.up:
            self._sent[number].extend(FrameReader().feed(data))

    def takes_work(self, number: int) -> bool:
        return number in self.up and number not in self.deaf

    def memory(self, number: int) -> int:
        return self.bytes.get(number, 0)

    def resize(self, size: int) -> None:
        self.size = size

    def retire(self, number: int) -> None:
        self.go(number, LEFT)

    def kill(self, number: int, why: str) -> None:
        self.killed[number] = why
        self.go(number, Death(ExitStatus(signal=15), "", why))

    def work_off(self) -> None:
        """Do what the link's thread was called to do."""
        while self._functions:
            self._functions.popleft()()

    def come(self) -> int:
        """A worker comes up; its number."""
        number = next(self._numbers)
        self.up.append(number)
        self.owner.on_up(number)
        self.work_off()
        return number

    def go(self, number: int, death: Death) -> bool:
        """A worker ends; whether it had jobs."""
        self.up.remove(number)
        busy = self.owner.on_down(number, death)
        self.work_off()
        return busy

    def say(self, number: int, message: Pong | Burst) -> bool | None:
        """A worker says something; whether that was progress. One that may not say it ends (None)."""
        (data,) = FrameReader().feed(frame(message))
        read = read_from_worker(data)
        assert isinstance(read, Pong | Burst)
        try:
            return self.owner.on_message(number, read)
        except WireError as error:
            self.go(number, Death(ExitStatus(signal=9), "", f"protocol: {error}"))
            return None
        finally:
            self.work_off()

    def hear(self, number: int) -> list[int]:
        """What a worker was sent since it was last asked: ids of jobs, negative ones for their cancels."""
        heard = []
        while self._sent[number]:
            message = read_to_worker(self._sent[number].popleft())
            assert isinstance(message, Submit | Cancel)
            heard.append(message.job.id if isinstance(message, Submit) else -message.job_id)
        return heard

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and have the owner look at it."""
        self.now += seconds
        self.owner.on_tick()
        self.work_off()


class Played:
    """A seating that has started, the link that a test plays, and all events by the jobs' ids."""

    def __init__(
        self, *, workers: int = 1, slots: int = 2, comes_by_itself: bool = False, **options: Any
    ) -> None:
        self.memory_link = MemoryLink(comes_by_itself=comes_by_itself)
        # Says to the type checker that this is a link.
        link: Link = self.memory_link
        options = {
            "sizing": Sizing(workers, workers),
            "retries": 1,
            "cancel_grace": 15.0,
            "routes": False,
            **options,
        }
        self.seating = Seating(link, slots=slots, **options)
        self.events: dict[int, list[Event]] = defaultdict(list)
        self.rooms = 0
        self._emitting = True
        self.seating.start(self._count_room)

    def _count_room(self) -> None:
        self.rooms += 1

    def submit(self, request: Request) -> int | None:
        """Offer a job: its id, or None when it is refused."""
        job_id = len(self.events) + 1
        events = self.events[job_id]

        def emit(event: Event) -> None:
            assert self._emitting, "L2: emit was called inside submit"
            events.append(event)

        self._emitting = False
        taken = self.seating.submit(Job(job_id, normalize(request)), emit)
        self._emitting = True
        if not taken:
            del self.events[job_id]
        self.memory_link.work_off()
        return job_id if taken else None

    def cancel(self, job_id: int) -> None:
        """Cancel a job."""
        self._emitting = False
        self.seating.cancel(job_id)
        self._emitting = True
        self.memory_link.work_off()

    def say(self, number: int, *events: tuple[int, Event]) -> bool | None:
        """A worker says what has become of jobs."""
        return self.memory_link.say(number, Burst(tuple(events)))
