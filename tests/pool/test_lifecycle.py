"""The life of a pool: starting, closing, both at once, and what is left afterwards."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from poolinfer import (
    CallCancelled,
    EngineError,
    ForkedPool,
    ModelError,
    Pool,
    PoolBroken,
    PoolClosed,
    PoolError,
    Raw,
)
from poolinfer._data.specs import LaneSpec
from poolinfer._executors.thread import ThreadExecutor
from poolinfer._pool.lifecycle import PoolLifecycle
from poolinfer.testing import FakeEngine, FakeExecutor, Held, fake_pool, wait_until


def test_a_pool_starts_at_its_first_call():
    with_start = Pool(executor=FakeExecutor())
    assert with_start.stats().state == "new"
    assert repr(with_start) == "<Pool FakeExecutor new>"
    assert with_start.raw("a").text == "a"
    assert with_start.stats().state == "running"
    with_start.close()
    assert with_start.stats().state == "closed"


def test_start_is_idempotent_and_thread_safe():
    executor = FakeExecutor()
    with Pool(executor=executor) as pool, ThreadPoolExecutor(8) as threads:
        for one in [threads.submit(pool.start) for _ in range(8)]:
            one.result()
    with pytest.raises(PoolClosed):
        pool.start()


def test_a_new_pool_closes():
    before = Held.now()
    pool = Pool(executor=FakeExecutor())
    pool.close()
    pool.close()
    for use in (pool.start, lambda: pool.submit(Raw("a")), lambda: list(pool.map(["a"]))):
        with pytest.raises(PoolClosed, match="make a new one"):
            use()
    before.expect_no_more()


def test_refusals_do_not_pile_up_tracebacks():
    """A closed pool may refuse for days: the error that it raises must not grow."""
    pool = Pool(executor=FakeExecutor())
    pool.close()
    for _ in range(50):
        with pytest.raises(PoolClosed) as caught:
            pool.submit(Raw("a"))
    assert len(caught.traceback) < 20


def _context_after(use, error):
    """What `use` raises while its caller handles another error."""
    try:
        try:
            raise KeyError("a secret of this caller")
        except KeyError:
            use()
    except error as raised:
        return raised
    pytest.fail("nothing was raised")


def test_a_refusal_does_not_show_one_caller_s_error_to_the_next():
    closed = Pool(executor=FakeExecutor())
    closed.close()

    class Odd(FakeExecutor):
        def start(self, ready):
            raise ModelError("no such weights")

    broken = Pool(executor=Odd())
    for use, error in (
        (lambda: closed.submit(Raw("a")), PoolClosed),
        (closed.start, PoolClosed),
        (broken.start, ModelError),
        (lambda: broken.submit(Raw("a")), PoolBroken),
    ):
        first = _context_after(use, error)
        with pytest.raises(error) as second:
            use()
        assert isinstance(first.__context__, KeyError)
        assert second.value is not first
        assert second.value.__context__ is None
    broken.close()


def test_results_do_not_pile_up_tracebacks():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a"))
        call.cancel()
        for _ in range(50):
            with pytest.raises(CallCancelled) as caught:
                call.result()
        assert len(caught.traceback) < 20


def test_start_that_fails_breaks_the_pool():
    accepted = threading.Event()

    def load(cancelled):
        accepted.wait(30)
        raise ModelError("no such weights")

    pool = Pool(executor=ThreadExecutor(load, workers=1, lane=LaneSpec()))
    call = pool.submit(Raw("a"))
    accepted.set()
    with pytest.raises(ModelError, match="no such weights"):
        call.result()
    with pytest.raises(ModelError, match="no such weights"):
        pool.start()
    with pytest.raises(PoolBroken, match="no such weights"):
        pool.submit(Raw("a"))
    assert pool.stats().state == "broken"
    assert "broken" in repr(pool)
    pool.close()
    with pytest.raises(PoolClosed):
        pool.submit(Raw("a"))


def test_start_that_raises_something_else_breaks_the_pool(caplog):
    class Odd(FakeExecutor):
        def start(self, ready):
            raise OSError("out of descriptors")

    with pytest.raises(ModelError, match="out of descriptors"), Pool(executor=Odd()):
        pytest.fail("entered")
    assert "failed to start" in caplog.text


def test_an_executor_that_raises_fails_only_the_call(caplog):
    class Odd(FakeExecutor):
        def submit(self, job, emit):
            if job.request.prompt == "bad":
                raise ZeroDivisionError("odd")
            return super().submit(job, emit)

    with Pool(executor=Odd()) as pool:
        with pytest.raises(EngineError, match="odd"):
            pool.raw("bad")
        assert pool.raw("good").text == "good"
    assert "law L3" in caplog.text


def test_close_lets_running_and_waiting_calls_end():
    with fake_pool(FakeEngine(step_delay=0.001), slots=2) as pool:
        calls = [pool.submit(Raw("abc")) for _ in range(10)]
        pool.close()
        assert [call.result().text for call in calls] == ["abc"] * 10


def test_close_without_grace_cancels():
    engine = FakeEngine(tokens=10**6, step_delay=0.01)
    pool = fake_pool(engine, slots=2)
    calls = [pool.submit(Raw("abc")) for _ in range(10)]
    wait_until(lambda: calls[0].partial, "the first text")
    pool.close(0)
    for call in calls:
        with pytest.raises(CallCancelled, match="closed"):
            call.result()
    assert calls[0].partial.startswith("abc"[: len(calls[0].partial)])
    assert engine.leaks() == []


def test_two_pools_on_one_engine_do_not_meet():
    engine = FakeEngine()
    with fake_pool(engine) as one, fake_pool(engine) as two, ThreadPoolExecutor(4) as threads:
        texts = threads.map(lambda n: (one if n % 2 else two).raw(f"text {n}").text, range(40))
        assert list(texts) == [f"text {n}" for n in range(40)]


@pytest.mark.parametrize("problem", [ValueError, SystemExit, KeyboardInterrupt])
def test_f24_exception_inside_the_block(problem):
    executor = FakeExecutor(manual=True)
    with pytest.raises(problem, match="from the host"), Pool(executor=executor) as pool:  # noqa: PT012
        call = pool.submit(Raw("a"))
        raise problem("from the host")
    with pytest.raises(CallCancelled):
        call.result()
    assert pool.stats().state == "closed"


def test_f19_close_during_running_calls_from_two_threads():
    executor = FakeExecutor(manual=True)
    pool = Pool(executor=executor)
    call = pool.submit(Raw("a"))
    wait_until(lambda: executor.taken)
    with ThreadPoolExecutor(3) as threads:
        closers = [threads.submit(pool.close, 60) for _ in range(3)]
        wait_until(lambda: pool.stats().state == "closing")
        with pytest.raises(PoolClosed):
            pool.submit(Raw("b"))
        assert not any(closer.done() for closer in closers)
        executor.say(1, "in time")
        executor.finish(1)
        for closer in closers:
            closer.result(30)
    assert call.result().text == "in time"
    pool.close()


def test_f19_close_from_a_pool_thread_is_an_error():
    box = []

    def reply(request):
        box[0].close()
        return "closed"

    with Pool(executor=FakeExecutor(reply)) as pool:
        box.append(pool)
        with pytest.raises(EngineError, match="own threads"):
            pool.raw("a")
    assert issubclass(ForkedPool, PoolError)


def test_f19_a_thread_of_the_host_may_have_any_name():
    """Before, a host's thread called poolinfer-web-1 was taken for one of the pool's own."""
    pool = Pool(executor=FakeExecutor())
    pool.raw("a")
    closed = []
    closer = threading.Thread(target=lambda: closed.append(pool.close()), name="poolinfer-web-1")
    closer.start()
    closer.join(30)
    assert closed == [None]
    assert pool.stats().state == "closed"


def _waits_for_close(loading):
    """A load that never ends by itself, but ends when it is given up."""

    def load(cancelled):
        loading.set()
        wait_until(cancelled, "close")
        raise PoolClosed("the pool was closed while its model was loading")

    return load


@pytest.mark.parametrize(("calls", "grace"), [(1, 0), (0, 60)])
def test_f20_close_while_loading(calls, grace):
    """Loading is given up when no call waits for it any more. Who waits for the start gets PoolClosed."""
    loading = threading.Event()
    pool = Pool(executor=ThreadExecutor(_waits_for_close(loading), workers=2, lane=LaneSpec()))
    accepted = [pool.submit(Raw("a")) for _ in range(calls)]
    with ThreadPoolExecutor(1) as threads:
        starter = threads.submit(pool.start)
        assert loading.wait(30)
        pool.close(grace)
        with pytest.raises(PoolClosed):
            starter.result(30)
    for call in accepted:
        with pytest.raises((PoolClosed, CallCancelled)):
            call.result(30)


def test_f20_calls_accepted_while_loading_have_their_grace():
    """Before, `close(30)` cancelled such calls at once."""
    loading, loaded = threading.Event(), threading.Event()

    def load(cancelled):
        loading.set()
        wait_until(lambda: loaded.is_set() or cancelled())
        if cancelled():
            raise PoolClosed("the pool was closed while its model was loading")
        return FakeEngine()

    pool = Pool(executor=ThreadExecutor(load, workers=1, lane=LaneSpec()))
    calls = [pool.submit(Raw("abc")) for _ in range(3)]
    assert loading.wait(30)
    with ThreadPoolExecutor(2) as threads:
        starter = threads.submit(pool.start)
        closer = threads.submit(pool.close, 60)
        # Nobody waits for the start any longer, but for the calls.
        with pytest.raises(PoolClosed):
            starter.result(30)
        with pytest.raises(PoolClosed):
            pool.submit(Raw("late"))
        assert not any(call.done() for call in calls)
        loaded.set()
        closer.result(30)
    assert [call.result(0).text for call in calls] == ["abc"] * 3


def test_f20_the_grace_of_calls_ends_while_loading():
    loading = threading.Event()
    pool = Pool(executor=ThreadExecutor(_waits_for_close(loading), workers=1, lane=LaneSpec()))
    call = pool.submit(Raw("a"))
    assert loading.wait(30)
    began = time.monotonic()
    pool.close(0.3)
    assert 0.3 <= time.monotonic() - began < 10
    with pytest.raises((PoolClosed, CallCancelled)):
        call.result(0)


def test_f20_close_while_a_deaf_load_goes_on():
    """A load that cannot be given up delays close, and its engine is still freed."""
    loading, loaded = threading.Event(), threading.Event()
    engine = FakeEngine()

    def load(cancelled):
        loading.set()
        loaded.wait(30)
        return engine

    pool = Pool(executor=ThreadExecutor(load, workers=2, lane=LaneSpec()))
    call = pool.submit(Raw("a"))
    assert loading.wait(30)
    with ThreadPoolExecutor(1) as threads:
        closer = threads.submit(pool.close, 0)
        with pytest.raises((PoolClosed, CallCancelled)):
            call.result(30)
        loaded.set()
        closer.result(30)
    assert engine.leaks() == []


def test_f21_submit_racing_close():
    """Each call is refused with PoolClosed or ends properly, and none hangs, in many rounds."""
    for round_number in range(40):
        pool = Pool(executor=FakeExecutor(slots=2), max_queue=100_000)
        calls = []

        def submit_until_closed(pool=pool, calls=calls):
            try:
                while True:
                    calls.append(pool.submit(Raw("a")))
            except PoolClosed:
                return

        with ThreadPoolExecutor(3) as threads:
            for _ in range(3):
                threads.submit(submit_until_closed)
            wait_until(lambda calls=calls, n=round_number: len(calls) > n)
            pool.close(0 if round_number % 2 else 30)
        for call in calls:
            assert call.done(), round_number
            with suppress(CallCancelled, PoolClosed):
                assert call.result(0).text == "a"
        stats = pool.stats()
        assert stats.accepted == len(calls) == stats.succeeded + stats.cancelled + stats.failed


def test_f21_close_before_the_conductor_has_begun(monkeypatch):
    """Nobody waits for ever if the pool is closed after its first call was accepted and before its thread runs."""
    go, conduct = threading.Event(), PoolLifecycle._conduct
    monkeypatch.setattr(PoolLifecycle, "_conduct", lambda lifecycle: go.wait(30) and conduct(lifecycle))
    pool = Pool(executor=FakeExecutor())
    call = pool.submit(Raw("a"))
    with ThreadPoolExecutor(1) as threads:
        starter = threads.submit(pool.start)
        wait_until(lambda: pool._lifecycle._changed._waiters, "the starter")
        pool.close()
        with pytest.raises(PoolClosed):
            starter.result(10)
    with pytest.raises(CallCancelled, match="closed"):
        call.result(10)
    go.set()


def test_a_call_hears_why_the_pool_it_starts_cannot_start():
    """The call says why, and not that the pool is broken, even if that is known by then."""
    for _ in range(30):

        class Odd(FakeExecutor):
            def start(self, ready):
                raise ModelError("no such weights")

        pool = Pool(executor=Odd())
        with pytest.raises(ModelError, match="no such weights"):
            pool.raw("a")
        pool.close()
