"""`FakeExecutor`: answers without a model, or does just what a test says."""

from __future__ import annotations

import os
import re
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, TypeAlias

from .._data.errors import (
    CALL_WAS_CANCELLED,
    POOL_WAS_CLOSED,
    CallCancelled,
    EngineError,
    PoolClosed,
    PoolinferError,
)
from .._data.events import Done, Emit, Event, Failed, Job, Result, Started
from .._data.prompt_builder import Prompt
from .._data.requests import Generation, Raw, Request
from .._data.results import Chunk, Embedding, FinishReason, Response, Usage
from .._data.stats import ExecutorStats
from .._data.text_requests import Embed, Rerank
from .._data.text_results import AppliedTemplate, DocumentScore
from .._data.token_requests import ApplyTemplate, Detokenize, Tokenize
from .._system.forks import check_process
from .._system.threads import OwnThread

#: What answers a request: a text; a vector for one text to embed; scores for documents; token ids.
Reply: TypeAlias = Callable[[Request], "str | Sequence[float]"]


def echo(request: Request) -> str | Sequence[float]:
    """The default reply.

    It is the last user message or the raw prompt. To embed, it is a small vector made of the text's bytes. To rank,
    it is how many of a document's words are in the query, for each of its characters. Tokens are bytes.
    """
    if isinstance(request, Embed):
        data = str(request.input).encode()
        return [float(len(data)), float(sum(data)), float(data[0] if data else 0), 1.0]
    if isinstance(request, Rerank):
        wanted = set(request.query.split())
        return [sum(word in wanted for word in text.split()) / len(text) for text in request.documents]
    if isinstance(request, Tokenize):
        return list(request.text.encode())
    if isinstance(request, Detokenize):
        return bytes(token % 256 for token in request.tokens).decode(errors="replace")
    if isinstance(request, Raw) or isinstance(request.prompt, str):
        return str(request.prompt)
    messages = request.prompt.messages if isinstance(request.prompt, Prompt) else request.prompt
    users: list[Any] = [message["content"] for message in messages if message.get("role") == "user"]
    last = users[-1] if users else ""
    return last if isinstance(last, str) else "".join([str(part["text"]) for part in last])


class FakeExecutor:
    """An executor without an engine (`poolinfer.executor.Executor`); give it as ``Pool(executor=...)``.

    By itself it answers every job at once, from one thread of its own, with what `reply` says, in chunks of a
    word. A `reply` that raises fails its call.

    With ``manual=True`` it has no thread, and a test drives it by `begin`, `say`, `finish`, `fail`, `step` and
    `ready`. They emit on the test's own thread, which must not be inside `submit` or `cancel` then (law L2).

    Args:
        reply: makes the answers; the last user message is the answer if not given.
        slots: jobs that it takes at once; may be changed later (then call `ready`).
        manual: whether a test drives it.
        obey: whether `step` ends cancelled jobs.

    Attributes:
        jobs: the live jobs by id, oldest first.
        taken: the ids of all jobs ever taken, in order.
        cancelled: the ids that `cancel` was called with, in order.
        refuse: whether every job is refused; a test may set it.
    """

    def __init__(
        self, reply: Reply = echo, *, slots: int = 4, manual: bool = False, obey: bool = True
    ) -> None:
        self.slots = slots
        self.obey = obey
        self.refuse = False
        self.jobs: dict[int, Job] = {}
        self.taken: list[int] = []
        self.cancelled: list[int] = []
        self._reply = reply
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._emits: dict[int, Emit] = {}
        self._said: dict[int, list[str]] = {}
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._ready: Callable[[], None] = lambda: None
        self._started = self._closing = False
        self._closed = threading.Event()
        # A daemon, so that a test which forgets to close ends all the same.
        thread = OwnThread(target=self._answer_all, name="poolinfer-fake")
        self._thread = None if manual else thread

    def start(self, ready: Callable[[], None]) -> None:
        """See `poolinfer.executor.Executor.start`."""
        check_process(self._pid, "executor")
        with self._lock:
            if self._closing:
                raise PoolClosed("the executor is closed")
            self._ready = ready
            self._started = True
            if self._thread is not None:
                self._thread.start()

    def submit(self, job: Job, emit: Emit) -> bool:
        """See `poolinfer.executor.Executor.submit`."""
        check_process(self._pid, "executor")
        with self._lock:
            if self.refuse or self._closing or not self._started or len(self.jobs) >= self.slots:
                return False
            self.jobs[job.id] = job
            self.taken.append(job.id)
            self._emits[job.id], self._said[job.id] = emit, []
        self._queue.put(job)
        return True

    def cancel(self, job_id: int) -> None:
        """See `poolinfer.executor.Executor.cancel`."""
        check_process(self._pid, "executor")
        with self._lock:
            self.cancelled.append(job_id)

    def stats(self) -> ExecutorStats:
        """See `poolinfer.executor.Executor.stats`."""
        check_process(self._pid, "executor")
        with self._lock:
            return ExecutorStats(workers=1, slots=self.slots, busy=len(self.jobs))

    def close(self, grace: float) -> None:
        """See `poolinfer.executor.Executor.close`; in manual mode live jobs end at once, as cancelled."""
        check_process(self._pid, "executor")
        with self._lock:
            first, self._closing = not self._closing, True
            if first and self._thread is not None:
                self._idle.wait_for(lambda: not self.jobs, grace)
            doomed = list(self.jobs)
        if not first:
            self._closed.wait()
            return
        for job_id in doomed:
            self.fail(job_id, CallCancelled(POOL_WAS_CLOSED))
        self._queue.put(None)
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()
        self._closed.set()

    def ready(self) -> None:
        """Tell the pool that room may have appeared."""
        self._ready()

    def begin(self, job_id: int, prompt_tokens: int = 0) -> None:
        """Say that a job has started."""
        self._emit(job_id, Started(prompt_tokens))

    def say(self, job_id: int, text: str) -> None:
        """Emit a chunk of a job's answer."""
        with self._lock:
            self._said.get(job_id, []).append(text)
        self._emit(job_id, Chunk(text, text))

    def finish(self, job_id: int, result: Result | None = None) -> None:
        """End a job well: with a result, or with what was said."""
        if result is None:
            with self._lock:
                said = list(self._said.get(job_id, []))
            text = "".join(said)
            result = Response(text, text, usage=Usage(completion_tokens=len(said)))
        self._end(job_id, Done(result))

    def fail(self, job_id: int, error: PoolinferError) -> None:
        """End a job badly."""
        self._end(job_id, Failed.of(error))

    def step(self) -> None:
        """End the cancelled jobs, if the executor obeys: what a real one does at its next engine step."""
        if not self.obey:
            return
        with self._lock:
            cancelled = set(self.cancelled)
            doomed = [job_id for job_id in self.jobs if job_id in cancelled]
        for job_id in doomed:
            self.fail(job_id, CallCancelled(CALL_WAS_CANCELLED))

    def _emit(self, job_id: int, event: Event) -> None:
        with self._lock:
            emit = self._emits.get(job_id)
        if emit is not None:
            emit(event)

    def _end(self, job_id: int, event: Done | Failed) -> None:
        with self._lock:
            emit = self._emits.pop(job_id, None)
            self.jobs.pop(job_id, None)
            self._said.pop(job_id, None)
            if not self.jobs:
                self._idle.notify_all()
        if emit is not None:
            emit(event)

    def _answer_all(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._answer(job)
            except PoolinferError as error:
                self.fail(job.id, error)
            except Exception as error:
                self.fail(job.id, EngineError(f"the reply failed: {error!r}"))

    def _answer(self, job: Job) -> None:
        self._stop_if_cancelled(job)
        self.begin(job.id)
        if not isinstance(job.request, Generation):
            self.finish(job.id, self._result(job.request))
            return
        text = str(self._reply(job.request))
        words = re.findall(r"\S+\s*|\s+", text)
        most = len(words) if job.request.max_tokens is None else job.request.max_tokens
        for word in words[:most]:
            self._stop_if_cancelled(job)
            self.say(job.id, word)
        said = "".join(words[:most])
        usage = Usage(completion_tokens=min(most, len(words)))
        reason: FinishReason = "length" if len(words) > most else "stop"
        self.finish(job.id, Response(said, said, finish_reason=reason, usage=usage))

    def _result(self, request: Embed | Rerank | Tokenize | Detokenize | ApplyTemplate) -> Result:
        if isinstance(request, Embed):
            return self._embed(request)
        reply = self._reply(request)
        if isinstance(request, Rerank):
            return tuple(DocumentScore(float(value)) for value in reply)
        if isinstance(request, Tokenize):
            return tuple(int(token) for token in reply)
        text = str(reply)
        return text if isinstance(request, Detokenize) else AppliedTemplate(text, tuple(text.encode()))

    def _embed(self, request: Embed) -> tuple[Embedding, ...]:
        texts = [request.input] if isinstance(request.input, str) else request.input
        vectors = [self._reply(replace(request, input=text)) for text in texts]
        return tuple(Embedding(struct.pack(f"<{len(vector)}f", *vector)) for vector in vectors)

    def _stop_if_cancelled(self, job: Job) -> None:
        with self._lock:
            cancelled = job.id in self.cancelled
        if cancelled:
            raise CallCancelled(CALL_WAS_CANCELLED)
