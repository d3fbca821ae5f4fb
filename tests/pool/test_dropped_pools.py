"""A pool that nobody holds any more, or whose closing is interrupted (F-22)."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from poolinfer import Model, Pool, Raw
from poolinfer._pool.lifecycle import PoolLifecycle
from poolinfer.testing import FakeEngine, FakeExecutor, Held, fake_pool, wait_until


def test_f22_a_dropped_pool_closes_itself():
    before = Held.now()
    pool = Pool(executor=FakeExecutor())
    pool.raw("a")
    gone = weakref.ref(pool)
    with pytest.warns(ResourceWarning, match="never closed") as warned:  # noqa: PT031
        del pool
        gc.collect()
    assert len(warned) == 1
    # A recorded warning holds the pool that it is about.
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
            gc.collect()  # which any allocation may start
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
    """Before, such a pool looked new, so nobody asked its conductor to end."""
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
    """F-25 at its worst moment: a second close, such as the one at exit, must not wait for ever."""
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


def test_f22_a_dropped_model_closes_its_own_pool_at_once(tiny):
    """No circle of references keeps it until the next garbage collection."""
    before = Held.now()
    model = Model.load(tiny.path)
    call = model.submit(Raw("a", max_tokens=4))
    del model
    assert call.result().text
    # Whoever drops the last reference is warned.
    with pytest.warns(ResourceWarning, match="was never closed"):
        del call
    wait_until(lambda: not before.more(), "the model's pool is closed")
