"""Calls that are cancelled at any moment, read slowly, or forgotten (F-03, F-30, F-31, F-35)."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from settled import settled

from poolinfer import DeadlineExceeded, Pool, Raw
from poolinfer._pool.dispatcher import Dispatcher
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool, wait_until


@pytest.fixture
def fast_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("slots", [1, 3])
def test_f03_cancel_at_the_instant_of_the_hand_over(slots, fast_switches):
    """10 000 calls, cancelled at random moments by two threads while slots change hands."""
    with (
        Pool(executor=FakeExecutor(slots=slots), max_queue=200_000) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        calls = []
        ended = threading.Event()

        def cancel_some(seed):
            rng = random.Random(seed)
            while not ended.is_set():
                if calls:
                    rng.choice(calls[-50:]).cancel()

        cancellers = [threads.submit(cancel_some, seed) for seed in range(2)]
        for _ in range(5_000):
            calls.append(pool.submit(Raw("a b")))
        ended.set()
        for canceller in cancellers:
            canceller.result()
        stats = settled(pool)
    assert stats.accepted == 5_000
    assert stats.cancelled > 0
    assert all(call.done() for call in calls)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_f03_cancel_inside_the_hand_over(moment):
    """The race itself, made certain: another thread cancels while the executor is taking the job."""

    class Slow(FakeExecutor):
        def submit(self, job, emit):
            def cancel():
                dispatcher.cancel(tickets[job.id - 1])
                thread = threading.Thread(target=dispatcher.pump)
                thread.start()
                thread.join()
                assert tickets[job.id - 1].ended

            raced = len(self.jobs) < self.slots or job.id % 2
            if raced and moment == "before":
                cancel()
            taken = super().submit(job, emit)
            if raced and moment == "after":
                cancel()
            return taken

    executor = Slow(manual=True, slots=2)
    dispatcher = Dispatcher(50, time.monotonic)
    tickets = [dispatcher.ticket(Raw("a")) for _ in range(50)]
    for ticket in tickets:
        dispatcher.submit(ticket)
    executor.start(dispatcher.ready)
    dispatcher.open(executor)
    deadline = time.monotonic() + 30
    while not dispatcher.settled and time.monotonic() < deadline:
        dispatcher.pump()
        executor.step()
    executor.step()
    stats = dispatcher.stats("running")
    assert (stats.accepted, stats.cancelled, stats.stopping, stats.busy) == (50, 50, 0, 0)
    assert len(executor.taken) > 20
    assert set(executor.taken) <= set(executor.cancelled)


def test_f30_a_slow_reader_costs_one_string():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.stream("a")
        wait_until(lambda: executor.taken)
        pieces = iter(call)
        tracemalloc.start()
        for n in range(10_000):
            executor.say(1, f"{n:9d} ")
        del executor._said[1][:]
        unread = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        chunk = next(pieces)
        executor.finish(1)
        assert len(chunk.text) == len(chunk.answer) == 100_000
        assert list(pieces) == []
    assert unread < 3_000_000


def test_f30_a_stalled_reader_does_not_slow_its_neighbours():
    engine = FakeEngine(tokens=200)
    with fake_pool(engine, slots=2) as pool:
        stalled = pool.stream(Raw("abc"))
        next(iter(stalled_pieces := iter(stalled)))
        for _ in range(5):
            assert len(pool.raw("xyz").text) == 200
        stalled.result()
        assert len("".join(piece.text for piece in stalled_pieces)) < 200


def test_f31_a_dropped_call_is_cancelled():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a"))
        wait_until(lambda: executor.taken)
        del call
        gc.collect()
        wait_until(lambda: executor.cancelled == [1])
        executor.step()
        assert settled(pool).cancelled == 1


def test_f31_a_dropped_waiting_call_leaves_the_queue():
    executor = FakeExecutor(manual=True, slots=1)
    with Pool(executor=executor) as pool:
        first = pool.submit(Raw("a"))
        wait_until(lambda: executor.taken)
        pool.submit(Raw("b"))
        gc.collect()
        wait_until(lambda: pool.stats().waiting == 0)
        executor.finish(1)
        assert first.done()
    assert executor.taken == [1]


@pytest.mark.parametrize("neighbours", [0, 2])
def test_f35_cancel_during_prefill(neighbours):
    """A lone call's step is aborted; with neighbours that live, the cancel waits for the step's end."""
    engine = FakeEngine(step_delay=0.05 if neighbours else 600)
    executor = engine.executor(slots=4, n_ctx=100_000, n_batch=32)
    with Pool(executor=executor) as pool:
        others = [pool.submit(Raw("abc")) for _ in range(neighbours)]
        call = pool.submit(Raw("x" * 90_000))
        wait_until(lambda: engine.steps > 2 if neighbours else engine.steps)
        call.cancel()
        wait_until(call.done)
        wait_until(lambda: pool.stats().stopping == 0, "the slot")
        assert [other.result().text for other in others] == ["abc"] * neighbours
        settled(pool)
    assert engine.leaks() == []


def test_f35_cancel_of_all_neighbours_aborts_the_step():
    engine = FakeEngine(step_delay=600)
    with Pool(executor=engine.executor(slots=4)) as pool:
        calls = [pool.submit(Raw("abc")) for _ in range(3)]
        wait_until(lambda: engine.steps)
        for call in calls:
            call.cancel()
        wait_until(lambda: pool.stats().busy == 0, "the slots")
    assert engine.leaks() == []


def test_f35_a_deaf_engine_costs_a_slot_and_never_its_owner():
    hang = threading.Event()
    engine = FakeEngine(hang=hang, honours_abort=False)
    with fake_pool(engine) as pool:
        call = pool.submit(Raw("abc", timeout=0.2))
        with pytest.raises(DeadlineExceeded):
            call.result()
        assert pool.stats().stopping == 1
        hang.set()
        settled(pool)
    assert engine.leaks() == []


def test_accepted_is_ended_plus_live_under_load(fast_switches):
    """All at once: submits, cancels, drops, deadlines and readers, on switching threads."""
    engine = FakeEngine(tokens=5)
    with fake_pool(engine, workers=2, slots=3, max_queue=100_000) as pool, ThreadPoolExecutor(6) as threads:

        def work(seed):
            rng = random.Random(seed)
            for _ in range(60):
                timeout = rng.choice([None, None, 0, 0.01, 5])
                call = pool.submit(Raw("abc", timeout=timeout, priority=rng.choice([0, 1])))
                match rng.randrange(4):
                    case 0:
                        call.cancel()
                    case 1:
                        del call
                    case 2:
                        next(iter(call), None) if timeout is None else None
                    case _ if timeout is None:
                        assert call.result(60).text == "abcab"

        for one in [threads.submit(work, seed) for seed in range(6)]:
            one.result(60)
        assert settled(pool).accepted == 360
    assert engine.leaks() == []
