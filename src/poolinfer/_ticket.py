"""One accepted call inside the pool: its text so far, its one ending, and who waits for either."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from ._errors import CallError, PoolinferError
from ._events import Job
from ._requests import Chat, Embed, Raw
from ._results import Chunk, Embedding, Response, TokenLogprob
from ._wake import Wake


class Text:
    """A growing string that readers follow by offset; a reader that keeps up never causes a copy."""

    __slots__ = ("_parts", "length")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.length = 0

    def append(self, part: str) -> None:
        """Add to the end."""
        if part:
            self._parts.append(part)
            self.length += len(part)

    def since(self, offset: int) -> str:
        """What follows an offset."""
        if offset >= self.length:
            return ""
        if self.length - len(self._parts[-1]) == offset:
            return self._parts[-1]
        self._parts = ["".join(self._parts)]
        return self._parts[0][offset:]


@dataclass(slots=True)
class Cursor:
    """How far one reader has read."""

    text: int = 0
    answer: int = 0
    reasoning: int = 0
    logprobs: int = 0


class Ticket:
    """The pool's side of a call. Thread-safe; ends once.

    Attributes:
        job: what the executor gets.
        created: monotonic seconds when it was accepted; `started` and `first` when it got a slot and its
            first text, or 0.
        deadline: monotonic seconds after which it expires, or infinity.
        check: checks the job's request, if that is yet to be done; the executor gets it only then.
    """

    __slots__ = (
        *("job", "created", "started", "first", "deadline", "check", "ended", "result", "error"),
        *("_lock", "_text", "_answer", "_reasoning", "_logprobs", "_readers", "_waiters"),
    )

    def __init__(self, job: Job, created: float, deadline: float) -> None:
        self.job = job
        self.created = created
        self.started: float = 0.0
        self.first: float = 0.0
        self.deadline = deadline
        self.check: Callable[[], Chat | Raw | Embed] | None = None
        self.ended: bool = False
        self.result: Response | list[Embedding] | None = None
        self.error: PoolinferError | None = None
        self._lock = threading.Lock()
        self._text, self._answer, self._reasoning = Text(), Text(), Text()
        self._logprobs: list[TokenLogprob] = []
        self._readers: list[Wake] = []
        self._waiters: list[Wake] = []

    @property
    def text(self) -> str:
        """All text so far."""
        with self._lock:
            return self._text.since(0)

    def checked(self, request: Chat | Raw | Embed) -> None:
        """Take the request as it was checked."""
        self.job = Job(self.job.id, request)
        self.check = None

    def grow(self, chunk: Chunk) -> list[Wake]:
        """Take a piece; who is to be woken."""
        with self._lock:
            if self.ended:
                return []
            self._text.append(chunk.text)
            self._answer.append(chunk.answer)
            self._reasoning.append(chunk.reasoning)
            self._logprobs.extend(chunk.logprobs)
            wakes, self._readers = self._readers, []
            return wakes

    def end(self, outcome: Response | list[Embedding] | PoolinferError) -> list[Wake] | None:
        """End the call; who is to be woken, or None when it had ended before."""
        with self._lock:
            if self.ended:
                return None
            if isinstance(outcome, PoolinferError):
                if isinstance(outcome, CallError) and not outcome.partial:
                    outcome.partial = self._text.since(0)
                self.error = outcome
            else:
                self.result = outcome
            self.ended = True
            wakes = self._readers + self._waiters
            self._readers, self._waiters = [], []
            return wakes

    def read(self, cursor: Cursor) -> Chunk | None:
        """What came after a reader's cursor, which moves on; None when nothing did."""
        with self._lock:
            chunk = Chunk(
                self._text.since(cursor.text),
                self._answer.since(cursor.answer),
                self._reasoning.since(cursor.reasoning),
                tuple(self._logprobs[cursor.logprobs :]),
            )
            cursor.text, cursor.answer = self._text.length, self._answer.length
            cursor.reasoning, cursor.logprobs = self._reasoning.length, len(self._logprobs)
        return chunk if chunk.text or chunk.answer or chunk.reasoning or chunk.logprobs else None

    def wake_at_end(self, wake: Wake) -> bool:
        """Have `wake` called at the end; False when that is already past."""
        with self._lock:
            if not self.ended:
                self._waiters.append(wake)
            return not self.ended

    def wake_at_news(self, cursor: Cursor, wake: Wake) -> bool:
        """Have `wake` called once when there is more to read, or at the end; False when there is already."""
        with self._lock:
            fresh = self.ended or self._text.length > cursor.text or len(self._logprobs) > cursor.logprobs
            fresh = fresh or self._answer.length > cursor.answer or self._reasoning.length > cursor.reasoning
            if not fresh:
                self._readers.append(wake)
            return not fresh

    def forget(self, wake: Wake) -> None:
        """Drop a waiter that no longer waits."""
        with self._lock:
            for wakes in (self._readers, self._waiters):
                if wake in wakes:
                    wakes.remove(wake)

    def timed(self, response: Response, now: float) -> Response:
        """The response with the intervals that only the pool knows."""
        started = self.started or now
        timings = replace(
            response.timings,
            queue=started - self.created,
            ttft=(self.first or now) - self.created,
            total=now - self.created,
        )
        return replace(response, timings=timings)
