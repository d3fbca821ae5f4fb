"""The life of a pool: starting, closing, both at once, and what is left afterwards."""

from __future__ import annotations

import gc
import threading
import time
import weakref
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
    """What `use` raises beside another error of its caller."""
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
    """Loads for ever, but listens."""

    def load(cancelled):
        loading.set()
        wait_until(cancelled, "close")
        raise PoolClosed("the pool was closed while its model was loading")

    return load


@pytest.mark.parametrize(("calls", "grace"), [(1, 0), (0, 60)])
def test_f20_close_while_loading(calls, grace):
    """Loading gives up where no call waits for it, or no longer; whoever waits for the start hears PoolClosed."""
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
    """Before, `close(30)` while the model was loading cancelled them at once."""
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
        # The start is not waited for any longer; the calls are.
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
    """A load that does not listen delays close, and its engine is still given back."""
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
    """PoolClosed or a proper ending, never a hang, over and over."""
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
    """The first call is accepted and the pool closed while its thread has yet to run: nobody waits for ever."""
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


def test_f22_a_dropped_pool_closes_itself():
    before = Held.now()
    pool = Pool(executor=FakeExecutor())
    pool.raw("a")
    gone = weakref.ref(pool)
    with pytest.warns(ResourceWarning, match="never closed") as warned:  # noqa: PT031
        del pool
        gc.collect()
    assert len(warned) == 1
    # A recorded warning holds its source.
    del warned
    gc.collect()
    assert gone() is None
    before.expect_no_more()


def test_f22_a_dropped_pool_over_an_engine_gives_it_back():
    before = Held.now()
    engine = FakeEngine()
    pool = fake_pool(engine)
    pool.raw("a")
    with pytest.warns(ResourceWarning, match="never closed"):  # noqa: PT031
        del pool
        gc.collect()
    before.expect_no_more()
    assert engine.leaks() == []


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_f22_a_pool_in_a_cycle_is_collected_on_a_thread_that_holds_its_executors_lock(run_script, executor):
    done = run_script(
        f"""
        import gc, threading, warnings
        from poolinfer import Pool, Raw
        from poolinfer._pool import lifecycle
        from poolinfer._executors import seats, thread
        from poolinfer._executors.process import ProcessExecutor
        from poolinfer._data.specs import LaneSpec, ModelSpec
        from poolinfer.testing import FakeEngine, fake_pool, wait_until
        from poolinfer.testing._crash import crash_program

        gc.disable()
        module = thread if {executor!r} == "thread" else seats
        choose, dropped, warned = module.choose, threading.Event(), []
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest, **more: warned.append(str(message))

        def collect(*given):
            dropped.wait(30)
            gc.collect()  # any allocation may do it
            return choose(*given)

        class App:
            pass

        def main():
            app = App()
            app.me = app
            if module is thread:
                app.pool = fake_pool(FakeEngine())
            else:
                spec = ModelSpec("", (0, 0, 0, 0)), LaneSpec(n_ctx=4096, slots=4)
                app.pool = Pool(executor=ProcessExecutor(*spec, program=crash_program()))
            app.pool.start()
            module.choose = collect
            app.call = app.pool.submit(Raw("a"))

        main()
        dropped.set()
        wait_until(lambda: not lifecycle._running)
        print(warned)
        """
    )
    assert "running> was never closed" in done.stdout, done.stdout + done.stderr


def test_an_executor_that_never_closes_does_not_keep_the_interpreter(run_script):
    done = run_script(
        """
        import logging, threading
        from poolinfer import Pool, Raw
        from poolinfer._pool import lifecycle
        from poolinfer.testing import FakeExecutor

        logging.basicConfig()
        lifecycle._EXIT_SECONDS = 0.2
        executor = FakeExecutor()
        executor.close = lambda grace: threading.Event().wait()
        pool = Pool(executor=executor)
        print(pool.raw("a").text, flush=True)
        """,
        timeout=30,
    )
    assert done.returncode == 0
    assert done.stdout == "a\n"
    assert "not closed 0.2 s after the end of the program: 1" in done.stderr


def test_f22_a_pool_that_never_started_goes_quietly():
    pool = Pool(executor=FakeExecutor())
    del pool
    gc.collect()


def test_f22_a_pool_dropped_before_its_conductor_has_run(monkeypatch):
    """It looked new, so nobody asked its conductor to end."""
    before = Held.now()
    go, conduct = threading.Event(), PoolLifecycle._conduct
    monkeypatch.setattr(PoolLifecycle, "_conduct", lambda lifecycle: go.wait(30) and conduct(lifecycle))
    pool = Pool(executor=FakeExecutor())
    call = pool.submit(Raw("a"))
    assert pool.stats().state == "new"
    with pytest.warns(ResourceWarning, match="never closed"):  # noqa: PT031
        del pool, call
        gc.collect()
    go.set()
    before.expect_no_more()


def test_f22_a_call_keeps_its_pool():
    executor = FakeExecutor(manual=True)
    pool = Pool(executor=executor)
    call = pool.submit(Raw("a"))
    wait_until(lambda: executor.taken)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is not None
    executor.say(1, "still here")
    executor.finish(1)
    assert call.result().text == "still here"
    with pytest.warns(ResourceWarning):  # noqa: PT031
        del call
        gc.collect()
    assert gone() is None


def test_a_pool_dropped_while_it_closes_still_closes(run_script):
    """A pool's finaliser must not make its conductor wait for a close that waits for the conductor."""
    done = run_script(
        """
        import threading
        from poolinfer import Pool
        from poolinfer.testing import FakeExecutor

        closing, gate = threading.Event(), threading.Event()
        class Slow(FakeExecutor):
            def close(self, grace):
                pool._lifecycle.abandon()
                closing.set()
                gate.wait()
                super().close(grace)

        pool = Pool(executor=Slow())
        pool.start()
        closer = threading.Thread(target=pool.close, daemon=True)
        closer.start()
        closing.wait()
        pool._lifecycle.abandon()
        gate.set()
        closer.join(10)
        print("hangs" if closer.is_alive() else "closed", flush=True)
        import os; os._exit(0)
        """
    )
    assert done.stdout == "closed\n", done.stderr


def test_ctrl_c_during_close_leaves_a_pool_that_closes(run_script):
    """F-25 at its worst moment: the second close, say the one at exit, must not wait for ever."""
    done = run_script(
        """
        import os, signal, threading
        from poolinfer import Pool
        from poolinfer.testing import FakeExecutor

        gate = threading.Event()
        class Slow(FakeExecutor):
            def close(self, grace):
                os.kill(os.getpid(), signal.SIGINT)
                gate.wait(20)
                super().close(grace)

        pool = Pool(executor=Slow())
        pool.start()
        try:
            pool.close()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        gate.set()
        closer = threading.Thread(target=pool.close, daemon=True)
        closer.start()
        closer.join(10)
        print("hangs" if closer.is_alive() else "closed", flush=True)
        os._exit(0)
        """
    )
    assert done.stdout == "interrupted\nclosed\n", done.stderr


def test_f16_fork(run_script):
    """ForkedPool on use, close and destructors inert, a new pool works, the parent goes on."""
    done = run_script(
        """
        import gc, os, sys, threading, warnings
        import poolinfer
        from poolinfer import ForkedPool, Pool, Raw
        from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool, wait_until

        warnings.simplefilter("ignore", DeprecationWarning)
        gate = threading.Event()
        engine = FakeEngine(hang=gate)
        pool = fake_pool(engine)
        call = pool.submit(Raw("from the parent"))
        wait_until(lambda: engine.steps)
        pid = os.fork()
        if pid == 0:
            def refused(use):
                try:
                    use()
                except ForkedPool as error:
                    assert "parent" in str(error) or "forked" in str(error)
                    return
                raise AssertionError(f"{use} was not refused")
            for use in (call.result, lambda: iter(call), lambda: call.__aiter__(), pool.start, pool.stats,
                        lambda: pool.submit(Raw("b")), lambda: pool.chat("b"), lambda: list(pool.map(["b"]))):
                refused(use)
            call.cancel()
            pool.close()
            assert "parent" in repr(pool)
            with Pool(executor=FakeExecutor()) as own:
                assert own.raw("mine").text == "mine"
            del call, pool
            gc.collect()
            sys.exit(7)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        gate.set()
        assert call.result().text == "from the parent"
        assert pool.raw("again").text == "again"
        pool.close()
        assert engine.leaks() == []
        print(code)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


def test_f16_a_new_pool_in_the_child_of_a_used_parent(run_script):
    """It says ForkedPool, whichever thread is faster: before, a call that came after the failure got PoolBroken."""
    done = run_script(
        """
        import os, sys, warnings
        import poolinfer
        from poolinfer import ForkedPool, Pool

        warnings.simplefilter("ignore", DeprecationWarning)
        model = poolinfer.Model.load(poolinfer.demo_model())
        with Pool(model, slots=1, threads=1) as pool:
            pool.raw("a", max_tokens=1)
        pid = os.fork()
        if pid == 0:
            for late in (False, True) * 10:
                pool = Pool(model, slots=1, threads=1)
                if late:
                    try:
                        pool.start()
                    except ForkedPool:
                        pass
                try:
                    pool.raw("a", max_tokens=1)
                except ForkedPool as error:
                    assert "after the fork" in str(error), error
                except BaseException as error:
                    print(late, repr(error), flush=True)
                    os._exit(1)
                pool.close()
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


def test_f16_a_model_whose_implicit_pool_another_thread_was_making(run_script):
    """The child hung in `Model`: a lock that another thread held while it forked stayed locked there."""
    done = run_script(
        """
        import os, signal, threading, warnings
        import poolinfer
        from poolinfer import _pool

        warnings.simplefilter("ignore", DeprecationWarning)
        model = poolinfer.Model.load(poolinfer.demo_model())
        making, go, make = threading.Event(), threading.Event(), _pool.Pool.__init__

        def slow(self, *args, **options):
            if threading.current_thread() is maker:
                making.set()
                go.wait()
            make(self, *args, **options)

        _pool.Pool.__init__ = slow
        maker = threading.Thread(target=model.stats)
        maker.start()
        making.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            print(model.stats().state, flush=True)
            model.close()
            os._exit(7)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        go.set()
        maker.join()
        print(code, model.stats().state)
        model.close()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "new\n7 new\n", "")


def test_a_call_hears_why_the_pool_it_starts_cannot_start():
    """Not that the pool is broken already, however soon that is known."""
    for _ in range(30):

        class Odd(FakeExecutor):
            def start(self, ready):
                raise ModelError("no such weights")

        pool = Pool(executor=Odd())
        with pytest.raises(ModelError, match="no such weights"):
            pool.raw("a")
        pool.close()


@pytest.mark.parametrize("reference", ["pool", "calls", "none"])
def test_f23_exit_with_calls_in_flight(run_script, reference):
    done = run_script(
        f"""
        import threading, time
        import poolinfer
        from poolinfer import Raw
        from poolinfer.testing import FakeEngine, fake_pool, wait_until

        engine = FakeEngine(tokens=10**6, step_delay=0.01)
        pool = fake_pool(engine, workers=2, slots=3)
        calls = [pool.submit(Raw("abc")) for _ in range(20)]

        def read(call):
            try:
                list(call)
            except poolinfer.CallCancelled:
                pass

        threading.Thread(target=read, args=(calls[0],), daemon=True).start()
        wait_until(lambda: calls[0].partial)
        kept = {{"pool": pool, "calls": calls, "none": None}}["{reference}"]
        if "{reference}" != "pool":
            del pool
        if "{reference}" == "none":
            del calls
        """,
        timeout=40,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_f23_exit_with_the_demo_model_at_work(run_script, tiny):
    done = run_script(
        f"""
        import poolinfer
        pool = poolinfer.Pool({tiny.path!r}, slots=4)
        calls = [pool.submit(poolinfer.Raw("Count", temperature=2.0)) for _ in range(20)]
        next(iter(calls[0]))
        """,
        timeout=40,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
