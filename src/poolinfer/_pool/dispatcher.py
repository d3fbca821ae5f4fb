"""All decisions about the calls of a pool: admission, dispatch, deadlines, endings. Has no thread of its own.

    submit, cancel ──deques──> pump ──> Admission (queue) ──> Executor.submit
                                                                 │ events, on the executor's threads
                   Ticket <─────────────────────────────── _on_event ──> the next waiting call

A caller's thread only appends to a deque. So Ctrl-C, which can strike between any two instructions of the main
thread, leaves no decision half made, and a signal handler may submit and cancel. Decisions are made under one lock,
by the pool's own threads and by the executor's threads. Executors and waiters are called outside the lock.

When a call is cancelled or expires, its waiters are woken at once; its slot is freed by the executor's ending (law
L6). A call that the engine does not let go of costs a slot, but does not keep its owner waiting.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable

from .._data.errors import (
    CALL_WAS_CANCELLED,
    CallCancelled,
    EngineError,
    PoolError,
    PoolFull,
    PoolinferError,
    fresh,
)
from .._data.events import Event, Job, Started
from .._data.requests import Request
from .._data.results import Chunk, Response
from .._data.stats import ExecutorStats, PoolStats
from .._executors.executor_protocol import Executor
from .._system.logs import SafeLog
from .admission import Admission
from .counters import Counters
from .deadlines import NEVER, Deadlines
from .given_jobs import GivenJobs
from .outcomes import Outcome
from .pool_log import log_ended
from .request_checker import RequestChecker
from .ticket import Ticket
from .wakers import Bell, Wake

_log = SafeLog()


class Dispatcher:
    """Owns every call of one pool from acceptance to its end.

    Attributes:
        checker: checks requests that are too large for an event loop.
        slots: how many slots the executor had when it was last asked. Callers do not ask it themselves: a
            signal handler may interrupt a thread that holds one of the executor's locks.
    """

    def __init__(self, max_queue: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Both reentrant: a signal handler may submit while the thread that it interrupts holds them.
        self._door = threading.RLock()
        self._lock = threading.RLock()
        self._arrivals: deque[Ticket] = deque()
        self._cancels: deque[tuple[Ticket, str]] = deque()
        self._bell = Bell()
        self._ids = itertools.count(1)
        self._queue = Admission(max_queue)
        self.checker = RequestChecker(self._queue, self._lock, self._end, self._dispatch)
        self._live: dict[int, Ticket] = {}
        self._given = GivenJobs()
        self._deadlines = Deadlines()
        self._counters = Counters()
        self._executor: Executor | None = None
        self.slots = 0
        self._shut: PoolError | None = None
        self._dispatching = False
        # How often room may have appeared; and the same as it was before the executor was asked and refused. Where
        # they differ, room may have appeared since, and the executor is asked again.
        self._room = 0
        self._refused = -1

    def ticket(self, request: Request) -> Ticket:
        """A ticket for a checked request, not yet accepted."""
        now = self._clock()
        deadline = NEVER if request.timeout is None else now + request.timeout
        return Ticket(Job(next(self._ids), request), now, deadline)

    def submit(self, ticket: Ticket) -> None:
        """Accept a ticket. Called by callers.

        Raises:
            PoolFull: the queue is full.
            PoolError: the pool was shut.
        """
        with self._door:
            if self._shut is not None:
                raise fresh(self._shut)
            if self._is_full():
                self._counters.rejected += 1
                raise self._full()
            self._arrivals.append(ticket)
        self.wake()

    def cancel(self, ticket: Ticket, why: str = CALL_WAS_CANCELLED) -> None:
        """End a call as cancelled, unless it has ended. No lock: finalisers and signal handlers may call this."""
        if not ticket.ended:
            self._cancels.append((ticket, why))
            self.wake()

    def wake(self) -> None:
        """Let `wait` return. Takes no lock."""
        self._bell.ring()

    def wait(self, timeout: float | None) -> None:
        """Wait until there is something for `pump` to do, or for `timeout` seconds (None: no bound)."""
        self._bell.wait(timeout)

    def pump(self) -> float | None:
        """Do what is due: take arrivals, end cancelled and expired calls, give the executor one call.

        Only one, since a large request may take long; `wait` returns at once for the next one. Returns the seconds
        until the next deadline, or None.
        """
        if self._waiting() >= self._queue.max_queue:
            self._ask_slots()
        # The cancels are counted first. So each call that they name is known, or is among the arrivals taken next.
        cancels = len(self._cancels)
        with self._lock:
            self._take_arrivals()
        self.checker.work()
        for _ in range(cancels):
            ticket, why = self._cancels[0]
            if ticket.job.id in self._live:
                self._give_up(ticket, CallCancelled(why))
            # Removed last: as long as the call is in the queue, `_is_full` must see that it is about to leave.
            self._cancels.popleft()
        while (due := self._next_deadline()) is not None and due.deadline <= self._clock():
            self._give_up(due, due.expired())
        self._dispatch(once=True)
        return None if due is None else max(0.0, due.deadline - self._clock())

    def _take_arrivals(self) -> None:
        """Let new calls wait in the queue; under the lock."""
        while self._arrivals:
            ticket = self._arrivals.popleft()
            self._live[ticket.job.id] = ticket
            self._queue.push(ticket)
            self._counters.accept(ticket.created)
            self._deadlines.watch(ticket, len(self._live))

    def open(self, executor: Executor) -> None:
        """Begin to give calls to an executor that is ready."""
        with self._lock:
            self._executor = executor
        self.ready()

    def ready(self) -> None:
        """Take note that room may have appeared in the executor."""
        self._ask_slots()
        with self._lock:
            self._room += 1
        # The conductor gives calls to the executor; this is one of the executor's threads, which has other work.
        self.wake()

    def _ask_slots(self) -> None:
        """Ask the executor how many slots it has."""
        if self._executor is not None:
            try:
                self.slots = self._executor.stats().slots
            except BaseException:  # see `_offer`
                _log.exception("an executor's stats raised, which law L3 forbids")

    def shut(self, reason: PoolError) -> None:
        """Accept no more calls, for this reason; accepted ones go on."""
        with self._door:
            self._shut = reason

    @property
    def settled(self) -> bool:
        """Whether all calls have ended. After `shut`, `wait` returns when the last one does."""
        with self._lock:
            return not self._live and not self._arrivals

    def fail_all(self, error: Callable[[], PoolinferError]) -> None:
        """End every live call."""
        self.pump()
        with self._lock:
            doomed = list(self._live.values())
        for ticket in doomed:
            self._give_up(ticket, error())

    def _waiting(self) -> int:
        """Calls in the queue or on their way into it."""
        return len(self._queue) + len(self._arrivals)

    def _is_full(self) -> bool:
        """Whether the queue is full, not counting calls that are about to get a slot, and cancelled ones."""
        if self._waiting() < self._queue.max_queue:
            return False
        with self._lock:
            free = max(0, self.slots - len(self._given))
            leaving = {ticket for ticket, _ in self._cancels.copy()}
            left = sum(ticket not in leaving for ticket in self._arrivals.copy())
            left += len(self._queue) - sum(ticket in self._queue for ticket in leaving)
            return left >= self._queue.max_queue + free

    def _full(self) -> PoolFull:
        """The error of a call that finds the queue full; recent latencies say when it may try again."""
        with self._lock:
            seconds = self._counters.mean_latency() * self._waiting() / max(1, len(self._given))
        return self._queue.refusal(max(0.1, seconds))

    def _next_deadline(self) -> Ticket | None:
        with self._lock:
            return self._deadlines.next()

    def _give_up(self, ticket: Ticket, error: PoolinferError) -> None:
        """End a call for its owner, and ask the executor to end it too."""
        if not self._end(ticket, error):
            return
        with self._lock:
            executor, given = self._executor, self._given.of(ticket)
        for job_id in given:
            if executor is not None:
                executor.cancel(job_id)

    def _end(self, ticket: Ticket, outcome: Outcome) -> bool:
        """End a call, count it, wake its waiters; returns False if it had ended before."""
        now = self._clock()
        if isinstance(outcome, Response):
            outcome = ticket.timed(outcome, now)
        wakes = ticket.end(outcome)
        if wakes is None:
            return False
        try:
            with self._lock:
                self._queue.discard(ticket)
                self._live.pop(ticket.job.id, None)
                self._counters.end(outcome, now - ticket.created, now)
            if self._shut is not None and not self._live:
                self.wake()
        finally:
            # Whatever fails in between: the call has ended, and nobody else knows who waits for it.
            self._wake(ticket, wakes)
        if _log.debugs:
            log_ended(ticket, outcome, now)
        return True

    def _wake(self, ticket: Ticket, wakes: list[Wake]) -> None:
        for wake in wakes:
            try:
                wake()
            except RuntimeError:  # the waiter's event loop is closed: nobody is left to read
                self.cancel(ticket, "the call's reader is gone")

    def _dispatch(self, once: bool = False) -> None:
        """Give waiting calls to the executor until it refuses, or just one; one thread does so at a time."""
        while (chosen := self._choose()) is not None:
            executor, ticket, job, room = chosen
            accepted = False
            try:
                accepted = self._offer(executor, ticket, job)
            finally:
                self._settle(ticket, job, accepted, room)
            if accepted and ticket.ended:
                executor.cancel(job.id)
            if accepted and once:
                self.wake()
                return

    def _choose(self) -> tuple[Executor, Ticket, Job, int] | None:
        with self._lock:
            if self._executor is None or self._dispatching or self._refused == self._room:
                return None
            self._take_arrivals()
            ticket = self._queue.pop()
            if ticket is None:
                return None
            job = ticket.next_job(self._ids)
            # Noted before it is offered: its events may come before `submit` returns.
            self._given[job.id] = ticket
            self._dispatching = True
            return self._executor, ticket, job, self._room

    def _settle(self, ticket: Ticket, job: Job, accepted: bool, room: int) -> None:
        with self._lock:
            self._dispatching = False
            if accepted:
                ticket.n_given += 1
            else:
                del self._given[job.id]
            if ticket.ended or ticket.n_given == ticket.n:
                return
            # Its turn is not over before the executor has a job for each of its answers.
            self._queue.push(ticket, front=True)
            if not accepted:
                self._refused = room

    def _offer(self, executor: Executor, ticket: Ticket, job: Job) -> bool:
        if ticket.ended:
            return False
        if ticket.deadline <= self._clock():
            self._end(ticket, ticket.expired())
            return False
        try:
            index = ticket.n_given
            return executor.submit(job, lambda event: self._on_event(ticket, job.id, index, event))
        except BaseException as error:  # also SystemExit: the code of others must not end this thread
            _log.exception("an executor's submit raised, which law L3 forbids")
            self._end(ticket, EngineError(f"the executor failed: {error!r}"))
            return False

    def _on_event(self, ticket: Ticket, job_id: int, index: int, event: Event) -> None:
        """Take an event of a job that the executor has, of a call's answer; called on the executor's threads."""
        if isinstance(event, Chunk):
            ticket.first = ticket.first or self._clock()
            self._wake(ticket, ticket.grow(event, index))
        elif isinstance(event, Started):
            ticket.started = ticket.started or self._clock()
        else:
            with self._lock:
                if self._given.pop(job_id, None) is None:
                    return
                self._room += 1
            outcome = ticket.outcome(event, index)
            if isinstance(outcome, PoolinferError):
                self._give_up(ticket, outcome)
            elif outcome is not None:
                self._end(ticket, outcome)
            self._dispatch()

    def stats(self, state: str) -> PoolStats:
        """A snapshot; `state` is the pool's, which a broken executor overrules."""
        of_executor = ExecutorStats() if self._executor is None else self._executor.stats()
        self.slots = of_executor.slots
        now = self._clock()
        with self._lock:
            running = self._given.running
            oldest = self._queue.oldest()
            return self._counters.snapshot(
                now,
                of_executor,
                state="broken" if of_executor.broken and state == "running" else state,
                running=len(running),
                waiting=self._waiting() - sum(ticket in self._queue for ticket in running),
                stopping=self._given.stopping,
                oldest_wait=0.0 if oldest is None else now - oldest,
                accepted=self._counters.accepted + len(self._arrivals),
            )
