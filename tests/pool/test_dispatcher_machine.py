"""Every decision of the dispatcher, in random order, against a model of it.

The executor and the clock are the test's own; `HYPOTHESIS_PROFILE=nightly` runs 10 000 examples.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from poolinfer import EngineError, PoolClosed, PoolFull, Raw
from poolinfer._pool.dispatcher import Dispatcher
from poolinfer._pool.ticket import Ticket
from poolinfer.testing import FakeExecutor

_COMMON = {"deadline": None, "database": None, "stateful_step_count": 60}
_CHECKS = {"suppress_health_check": list(HealthCheck)}
settings.register_profile("poolinfer-ci", max_examples=200, derandomize=True, **_COMMON, **_CHECKS)
settings.register_profile("poolinfer-nightly", max_examples=10_000, **_COMMON, **_CHECKS)
_PROFILE = f"poolinfer-{os.environ.get('HYPOTHESIS_PROFILE', 'ci')}"
_MAX_QUEUE = 8


class Reluctant(FakeExecutor):
    """Calls a function of the test during a refusal (`meanwhile`), and checks each job that it is offered."""

    def __init__(self, check_offer: Callable[[int], None]) -> None:
        super().__init__(manual=True, slots=2)
        self.meanwhile: Callable[[], None] | None = None
        self._check_offer = check_offer

    def submit(self, job, emit):
        self._check_offer(job.id)
        taken = super().submit(job, emit)
        if not taken and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            thread = threading.Thread(target=meanwhile)
            thread.start()
            thread.join()
        return taken


class DispatcherMachine(RuleBasedStateMachine):
    """Does what callers, executors and the clock do, in random order, and keeps a model of what must follow."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.tickets: list[Ticket] = []
        self.asked: list[Ticket] = []
        self.passed_over: list[Ticket] = []
        self.wakes: dict[int, int] = {}
        self.rejected = 0
        self.closed = False
        self.executor = Reluctant(self.check_offer)
        self.dispatcher = Dispatcher(_MAX_QUEUE, lambda: self.now)
        self.time_passed = False

    @initialize()
    def open(self) -> None:
        self.executor.start(self.dispatcher.ready)
        self.dispatcher.open(self.executor)

    @property
    def notified(self) -> bool:
        """Whether the conductor would call `pump` now, instead of waiting."""
        return self.time_passed or not self.dispatcher._bell._rings.empty()

    def is_full(self) -> bool:
        staying = [ticket for ticket in self.waiting() if ticket not in self.asked]
        return len(staying) >= _MAX_QUEUE + max(0, self.executor.slots - len(self.executor.jobs))

    def waiting(self) -> list[Ticket]:
        taken = set(self.executor.taken)
        return [ticket for ticket in self.tickets if not ticket.ended and ticket.job.id not in taken]

    def check_offer(self, job_id: int) -> None:
        # Noted and not raised: the dispatcher would take it for a failure of the call.
        first = min(self.waiting(), key=lambda ticket: (-ticket.job.request.priority, ticket.job.id))
        if first.job.id != job_id:
            self.passed_over.append(first)

    def live_job(self, data: st.DataObject) -> int | None:
        jobs = sorted(self.executor.jobs)
        return data.draw(st.sampled_from(jobs)) if jobs else None

    def wake_of(self, job_id: int) -> Callable[[], None]:
        def wake() -> None:
            self.wakes[job_id] += 1

        return wake

    @rule(priority=st.integers(-1, 1), timeout=st.sampled_from([None, None, 0, 1, 5]))
    def submit(self, priority, timeout):
        full = self.is_full()
        ticket = self.dispatcher.ticket(Raw("a", priority=priority, timeout=timeout))
        try:
            self.dispatcher.submit(ticket)
        except PoolFull as error:
            self.rejected += 1
            assert full
            assert error.retry_after > 0
        except PoolClosed:
            assert self.closed
        else:
            assert not full
            assert not self.closed
            assert self.notified
            self.tickets.append(ticket)
            self.wakes[ticket.job.id] = 0
            assert ticket.wake_at_end(self.wake_of(ticket.job.id))

    @rule(priorities=st.lists(st.integers(-1, 1), min_size=2, max_size=_MAX_QUEUE))
    def submit_many(self, priorities):
        for priority in priorities:
            self.submit(priority, None)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), times=st.integers(1, 3))
    def cancel_what_waits_and_fill_its_place(self, data, times):
        ticket = data.draw(st.sampled_from(self.waiting()))
        for _ in range(times):
            self.cancel_one(ticket, "again")
        for _ in range(2):
            self.submit(0, None)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), why=st.sampled_from(["it was dropped", "nobody reads it"]))
    def cancel(self, data, why):
        self.cancel_one(data.draw(st.sampled_from(self.tickets)), why)

    def cancel_one(self, ticket: Ticket, why: str) -> None:
        ended = ticket.ended
        self.dispatcher.cancel(ticket, why)
        assert ticket.ended == ended, "decided on the caller's thread"
        assert ended or self.notified
        self.asked.append(ticket)

    @rule(data=st.data(), how=st.sampled_from(["begin", "say", "finish", "finish", "fail"]))
    def engine_says(self, data, how):
        job_id = self.live_job(data)
        if job_id is None:
            return
        if how == "say":
            self.executor.say(job_id, "b")
        elif how == "fail":
            self.executor.fail(job_id, EngineError("no"))
        else:
            getattr(self.executor, how)(job_id)

    @rule()
    def engine_steps(self):
        self.executor.step()

    @rule(slots=st.integers(0, 4))
    def room_changes(self, slots):
        more = slots > self.executor.slots
        self.executor.slots = slots
        if more:
            self.executor.ready()

    @rule()
    def refuse(self):
        self.executor.refuse = True

    @rule()
    def accept(self):
        self.executor.refuse = False
        self.executor.ready()

    @rule()
    def room_appears_during_the_next_refusal(self):
        """The executor calls `ready` while its refusal is on its way: a wake-up that could be lost."""

        def meanwhile() -> None:
            self.executor.refuse = False
            self.executor.slots = max(self.executor.slots, 2)
            self.executor.ready()

        self.executor.meanwhile = meanwhile

    @rule()
    def a_job_ends_during_the_next_refusal(self):
        def meanwhile() -> None:
            for job_id in list(self.executor.jobs)[:1]:
                self.executor.finish(job_id)

        self.executor.meanwhile = meanwhile

    @rule(seconds=st.sampled_from([0.5, 1, 4]))
    def advance_clock(self, seconds):
        self.now += seconds
        self.time_passed = True

    @rule()
    def pump(self):
        self.time_passed = False
        self.dispatcher.wait(0)
        assert not self.notified
        due = self.dispatcher.pump()
        assert all(ticket.ended for ticket in self.asked)
        alive = [ticket for ticket in self.tickets if not ticket.ended]
        assert all(ticket.deadline > self.now for ticket in alive)
        deadlines = [ticket.deadline for ticket in alive if ticket.deadline != float("inf")]
        # `wait` may end too early, as a call may have ended meanwhile, but never too late.
        assert not deadlines or (due is not None and due <= min(deadlines) - self.now)

    @precondition(lambda self: len(self.tickets) > 20)
    @rule()
    def shut(self):
        self.closed = True
        self.dispatcher.shut(PoolClosed("closed"))

    @invariant()
    def no_call_is_lost(self):
        stats = self.dispatcher.stats("running")
        ended = stats.succeeded + stats.failed + stats.cancelled + stats.expired
        assert stats.accepted == len(self.tickets)
        assert stats.rejected == self.rejected
        assert ended == sum(ticket.ended for ticket in self.tickets)
        assert stats.accepted == ended + stats.running + stats.waiting
        assert stats.waiting == len(self.waiting())
        assert stats.busy == stats.running + stats.stopping

    @invariant()
    def the_next_call_is_the_oldest_of_the_highest_priority(self):
        assert self.passed_over == []

    @invariant()
    def each_call_ends_once(self):
        for ticket in self.tickets:
            assert self.wakes[ticket.job.id] == int(ticket.ended)
            assert ticket.ended == (ticket.result is not None or ticket.error is not None)

    @invariant()
    def nothing_waits_beside_a_free_slot(self):
        free = not self.executor.refuse and len(self.executor.jobs) < self.executor.slots
        assert self.notified or not free or not self.waiting()

    @invariant()
    def cancelled_calls_are_made_known(self):
        ended = {ticket.job.id for ticket in self.tickets if ticket.ended}
        assert ended & set(self.executor.jobs) <= set(self.executor.cancelled)

    def teardown(self):
        self.dispatcher.shut(PoolClosed("closed"))
        self.dispatcher.pump()
        self.dispatcher.fail_all(lambda: PoolClosed("closed"))
        self.executor.step()
        assert self.dispatcher.settled
        assert all(ticket.ended for ticket in self.tickets)
        assert self.executor.jobs == {}
        assert self.dispatcher.stats("closed").stopping == 0
        self.each_call_ends_once()


TestDispatcher = DispatcherMachine.TestCase
TestDispatcher.settings = settings.get_profile(_PROFILE)
TestDispatcher = pytest.mark.timeout(0)(TestDispatcher)


def test_room_during_a_refusal_is_not_lost():
    """The most important path of the machine above, as a test of its own."""
    executor = Reluctant(lambda job_id: None)
    dispatcher = Dispatcher(_MAX_QUEUE, lambda: 0.0)
    executor.start(dispatcher.ready)
    dispatcher.open(executor)
    executor.refuse = True

    def meanwhile() -> None:
        executor.refuse = False
        executor.ready()

    executor.meanwhile = meanwhile
    ticket = dispatcher.ticket(Raw("a"))
    dispatcher.submit(ticket)
    dispatcher.pump()
    assert executor.taken == [ticket.job.id]


def test_deadlines_and_cancels_come_between_large_requests_that_are_handed_over():
    """Each large request takes the executor a tenth of a second, as long as some megabytes take to encode."""
    now = 1000.0
    submit = FakeExecutor.submit

    class Slow(FakeExecutor):
        def submit(self, job, emit):
            nonlocal now
            now += 0.1
            return submit(self, job, emit)

    executor = Slow(manual=True, slots=30)
    dispatcher = Dispatcher(30, lambda: now)
    executor.start(dispatcher.ready)
    ends = {}

    def accept(timeout=None):
        ticket = dispatcher.ticket(Raw("a", timeout=timeout))
        ticket.wake_at_end(lambda: ends.setdefault(ticket.job.id, now))
        dispatcher.submit(ticket)
        return ticket

    soon = accept(timeout=0.5)
    many = [accept() for _ in range(20)]
    dispatcher.open(executor)
    assert executor.taken == [], "the executor's thread has more to do than to fill the executor"
    asked = None
    while not dispatcher._bell._rings.empty():
        dispatcher.wait(0)
        dispatcher.pump()
        if asked is None and len(executor.taken) > 2:
            asked = now
            dispatcher.cancel(many[0])
            dispatcher.cancel(many[-1])
    assert executor.taken == [soon.job.id, *(ticket.job.id for ticket in many[:-1])]
    assert ends[soon.job.id] <= 1000.5 + 0.11
    assert asked is not None
    assert ends[many[0].job.id] <= asked + 0.11
    assert ends[many[-1].job.id] <= asked + 0.11
