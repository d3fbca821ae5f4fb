"""The pool's record of a call: its text so far, its one outcome, and who waits for either."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from .._data.errors import CallError, DeadlineExceeded, EngineError, PoolinferError
from .._data.events import Done, Failed, Job
from .._data.requests import Embed, Request, vectors_wanted
from .._data.results import Chunk, Embedding, Response, TokenLogprob
from .wakers import Wake

#: How a call can end: a chat's or a text's response, one text's vector, several texts' vectors, or an error.
Outcome: TypeAlias = Response | Embedding | list[Embedding] | PoolinferError


class TextBuffer:
    """A growing string that readers follow by offset; a reader that keeps up never causes a copy.

    Not thread-safe. But a signal handler may read while its thread reads or appends: a reader replaces the list of
    strings and never changes it.
    """

    __slots__ = ("_strings",)

    def __init__(self) -> None:
        #: Strings, each with the length of all text up to its end.
        self._strings: list[tuple[int, str]] = []

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._strings[-1][0] if self._strings else 0

    def append(self, added: str) -> None:
        """Add to the end."""
        if added:
            # Made before it is appended: a reader that comes in between may replace the list.
            last = self.length + len(added), added
            self._strings.append(last)

    def since(self, offset: int) -> str:
        """The text after an offset."""
        strings = self._strings
        length, last = strings[-1] if strings else (0, "")
        if offset >= length:
            return ""
        if length - len(last) == offset:
            return last
        whole = "".join([string for _, string in strings])
        self._strings = [(length, whole)]
        return whole[offset:]


@dataclass(slots=True)
class ReadPosition:
    """How far one reader has read.

    Attributes:
        at: characters of text, of answer and of reasoning, and number of logprobs.
    """

    at: tuple[int, int, int, int] = (0, 0, 0, 0)


class Ticket:
    """The pool's record of a call. Thread-safe; ends once.

    Attributes:
        job: what the executor gets.
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
        *(
            "job",
            "created",
            "started",
            "first",
            "deadline",
            "answer_type",
            "check",
            "ended",
            "result",
            "error",
        ),
        *("_lock", "_text", "_answer", "_reasoning", "_logprobs", "_readers", "_waiters"),
    )

    def __init__(self, job: Job, created: float, deadline: float) -> None:
        self.job: Job = job
        self.created = created
        self.started: float = 0.0
        self.first: float = 0.0
        self.deadline = deadline
        self.answer_type: Any = None
        self.check: Callable[[], Request] | None = None
        self.ended: bool = False
        self.result: Response | Embedding | list[Embedding] | None = None
        self.error: PoolinferError | None = None
        # Reentrant: a signal handler, or a finaliser, may look at the call that its thread is reading.
        self._lock = threading.RLock()
        self._text, self._answer, self._reasoning = TextBuffer(), TextBuffer(), TextBuffer()
        self._logprobs: list[TokenLogprob] = []
        self._readers: list[Wake] = []
        self._waiters: list[Wake] = []

    @property
    def text(self) -> str:
        """All text so far."""
        with self._lock:
            return self._text.since(0)

    def checked(self, request: Request) -> None:
        """Replace the request by the checked one."""
        self.job = Job(self.job.id, request)
        self.check = None

    def grow(self, chunk: Chunk) -> list[Wake]:
        """Add a chunk to the text; returns who is to be woken."""
        with self._lock:
            if self.ended:
                return []
            self._text.append(chunk.text)
            self._answer.append(chunk.answer)
            self._reasoning.append(chunk.reasoning)
            self._logprobs.extend(chunk.logprobs)
            wakes, self._readers = self._readers, []
            return wakes

    def end(self, outcome: Outcome) -> list[Wake] | None:
        """End the call; returns who is to be woken, or None if it had ended before."""
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

    def read(self, cursor: ReadPosition) -> Chunk | None:
        """What came since a reader last read, or None; moves the reader's cursor."""
        with self._lock:
            while True:
                text, answer, reasoning, logprobs = before = cursor.at
                chunk = Chunk(
                    self._text.since(text),
                    self._answer.since(answer),
                    self._reasoning.since(reasoning),
                    tuple(self._logprobs[logprobs:]),
                )
                after = (
                    text + len(chunk.text),
                    answer + len(chunk.answer),
                    reasoning + len(chunk.reasoning),
                    logprobs + len(chunk.logprobs),
                )
                # If a signal handler has read with this cursor meanwhile, read again.
                if cursor.at is before:
                    cursor.at = after
                    break
        return chunk if after != before else None

    def wake_at_end(self, wake: Wake) -> bool:
        """Have `wake` called when the call ends; returns False if it has ended."""
        with self._lock:
            if not self.ended:
                self._waiters.append(wake)
            return not self.ended

    def wake_at_news(self, cursor: ReadPosition, wake: Wake) -> bool:
        """Have `wake` called once, when there is more to read or the call ends; returns False if that is so now."""
        with self._lock:
            is_news = self.ended or cursor.at != self._lengths()
            if not is_news:
                self._readers.append(wake)
            return not is_news

    def _lengths(self) -> tuple[int, int, int, int]:
        return self._text.length, self._answer.length, self._reasoning.length, len(self._logprobs)

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

    def outcome(self, event: Done | Failed) -> Outcome:
        """The outcome that an ending means for the call's owner.

        To embed one text gives one vector, to embed a list gives a list.
        """
        if isinstance(event, Failed):
            return event.error()
        if isinstance(event.result, Response):
            return event.result
        request, vectors = self.job.request, list(event.result)
        wanted = vectors_wanted(request)
        if len(vectors) != wanted:
            return EngineError(f"the executor gave {len(vectors)} vectors for {wanted} texts")
        return vectors[0] if isinstance(request, Embed) and isinstance(request.input, str) else vectors

    def timed(self, response: Response, now: float) -> Response:
        """The response, with what only the pool knows: timings, and the type of the answer."""
        started = self.started or now
        timings = replace(
            response.timings,
            queue=started - self.created,
            ttft=(self.first or now) - self.created,
            total=now - self.created,
        )
        return replace(response, timings=timings, answer_type=self.answer_type)
