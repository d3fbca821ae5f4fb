"""The pool's record of a call: its text so far, its one outcome, and who waits for either."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from .._data.errors import CallError, DeadlineExceeded, PoolinferError
from .._data.events import Done, Failed, Job
from .._data.requests import Request
from .._data.results import Chunk, Response
from .answer_buffers import AnswerBuffer, Offsets
from .choices import choice_job, joined, n_choices
from .outcomes import Answer, Outcome, outcome_of
from .wakers import Wake

_START: Offsets = (0, 0, 0, 0, 0)


@dataclass(slots=True)
class ReadPosition:
    """How far one reader has read.

    Attributes:
        at: for each answer that the reader has begun to read, how much of it.
    """

    at: tuple[Offsets, ...] = ()


class Ticket:
    """The pool's record of a call. Thread-safe; ends once.

    Attributes:
        job: what the executor gets; a job made of it for each answer, where the request has `n`.
        n: how many answers there are to be, each by a job of its own.
        n_given: how many of these jobs the executor has been given.
        created: when the call was accepted, in seconds of the pool's clock, as all times here.
        started: when the call got a slot; 0 before.
        first: when the first chunk of its answer came; 0 before.
        deadline: when the call expires, or infinity.
        answer_type: the type that the call's answer is to be an instance of, or None; it never leaves this process.
        check: checks the job's request, if that is not done yet; the executor gets the job only afterwards.
        ended: whether the call has ended for its owner.
        result: the result of a call that ended well.
        error: the error of a call that ended badly.
    """

    __slots__ = (
        *("job", "n", "n_given", "created", "started", "first", "deadline", "answer_type", "check"),
        *("ended", "result", "error", "_lock", "_answers", "_done", "_readers", "_waiters"),
    )

    def __init__(self, job: Job, created: float, deadline: float) -> None:
        self.job: Job = job
        self.n: int = n_choices(job.request)
        self.n_given: int = 0
        self.created = created
        self.started: float = 0.0
        self.first: float = 0.0
        self.deadline = deadline
        self.answer_type: Any = None
        self.check: Callable[[], Request] | None = None
        self.ended: bool = False
        self.result: Answer | None = None
        self.error: PoolinferError | None = None
        # Reentrant: a signal handler, or a finaliser, may look at the call that its thread is reading.
        self._lock = threading.RLock()
        self._answers = [AnswerBuffer(0)]
        self._done: dict[int, Response] = {}
        self._readers: list[Wake] = []
        self._waiters: list[Wake] = []

    @property
    def text(self) -> str:
        """All text so far of the first answer."""
        with self._lock:
            return self._answers[0].text.since(0)

    def checked(self, request: Request) -> None:
        """Replace the request by the checked one."""
        self.job = Job(self.job.id, request)
        self.check = None

    def grow(self, chunk: Chunk, index: int = 0) -> list[Wake]:
        """Add a chunk to an answer; returns who is to be woken."""
        with self._lock:
            if self.ended:
                return []
            while index >= len(self._answers):
                self._answers.append(AnswerBuffer(len(self._answers)))
            self._answers[index].append(chunk)
            wakes, self._readers = self._readers, []
            return wakes

    def end(self, outcome: Outcome) -> list[Wake] | None:
        """End the call; returns who is to be woken, or None if it had ended before."""
        with self._lock:
            if self.ended:
                return None
            if isinstance(outcome, PoolinferError):
                if isinstance(outcome, CallError) and not outcome.partial:
                    outcome.partial = self._answers[0].text.since(0)
                self.error = outcome
            else:
                self.result = outcome
            self.ended = True
            wakes = self._readers + self._waiters
            self._readers, self._waiters = [], []
            return wakes

    def read(self, cursor: ReadPosition) -> Chunk | None:
        """What came of one answer since a reader last read, or None; moves the reader's cursor."""
        with self._lock:
            while True:
                before = cursor.at
                chunk, after = self._next(self._padded(before))
                # If a signal handler has read with this cursor meanwhile, read again.
                if cursor.at is before:
                    cursor.at = after
                    return chunk

    def _next(self, at: tuple[Offsets, ...]) -> tuple[Chunk | None, tuple[Offsets, ...]]:
        """The next chunk of the first answer that has one, for a reader that has read so much of each."""
        for index, (answer, start) in enumerate(zip(self._answers, at, strict=True)):
            if start != answer.end:
                chunk, end = answer.since(start)
                return chunk, (*at[:index], end, *at[index + 1 :])
        return None, at

    def _padded(self, at: tuple[Offsets, ...]) -> tuple[Offsets, ...]:
        """A reader's offsets, with those of answers that have begun since."""
        return (*at, *[_START] * (len(self._answers) - len(at)))

    def wake_at_end(self, wake: Wake) -> bool:
        """Have `wake` called when the call ends; returns False if it has ended."""
        with self._lock:
            if not self.ended:
                self._waiters.append(wake)
            return not self.ended

    def wake_at_news(self, cursor: ReadPosition, wake: Wake) -> bool:
        """Have `wake` called once, when there is more to read or the call ends; returns False if that is so now."""
        with self._lock:
            is_news = self.ended or self._padded(cursor.at) != tuple([answer.end for answer in self._answers])
            if not is_news:
                self._readers.append(wake)
            return not is_news

    def forget(self, wake: Wake) -> None:
        """Do not call `wake` any more: nobody waits for it."""
        with self._lock:
            for wakes in (self._readers, self._waiters):
                if wake in wakes:
                    wakes.remove(wake)

    def expired(self) -> DeadlineExceeded:
        """The error of a call whose deadline has passed."""
        timeout = self.job.request.timeout or 0.0
        where = "while it ran" if self.started else "while it waited in the queue"
        return DeadlineExceeded(
            f"the call did not end within its timeout of {timeout} s ({where})", timeout=timeout
        )

    def next_job(self, ids: Iterator[int]) -> Job:
        """The next job to give to the executor. All but the first take an id from `ids`."""
        if self.n == 1:
            return self.job
        return choice_job(self.job, self.n_given, next(ids) if self.n_given else self.job.id)

    def outcome(self, event: Done | Failed, index: int = 0) -> Outcome | None:
        """The outcome that the ending of a job means for the call's owner; None while other answers are to come."""
        if isinstance(event, Failed):
            return event.error()
        outcome = outcome_of(self.job.request, event.result)
        if not isinstance(outcome, Response):
            return outcome
        with self._lock:
            self._done[index] = outcome
            return joined([self._done[i] for i in range(self.n)]) if len(self._done) == self.n else None

    def timed(self, response: Response, now: float) -> Response:
        """The response, with what only the pool knows: the call's timings, and the type of the answer."""
        timings = replace(
            response.timings,
            queue=(self.started or now) - self.created,
            ttft=(self.first or now) - self.created,
            total=now - self.created,
        )
        others = tuple([self.timed(other, now) for other in response.others])
        return replace(response, timings=timings, others=others, answer_type=self.answer_type)
