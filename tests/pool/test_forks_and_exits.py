"""Forks of a process that has a pool, and the interpreter's end with calls that run (F-16, F-23)."""

from __future__ import annotations

import pytest


def test_f16_fork(run_script):
    """In the child, use raises ForkedPool, close does nothing, and a new pool works. The parent goes on."""
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
    """A call raises ForkedPool. Before, a call that came after the failure was noted raised PoolBroken."""
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
    """Before, the child hung in `Model`: a lock that another thread held during the fork stayed locked there."""
    done = run_script(
        """
        import os, signal, threading, warnings
        import poolinfer
        from poolinfer import Pool

        warnings.simplefilter("ignore", DeprecationWarning)
        model = poolinfer.Model.load(poolinfer.demo_model())
        making, go, make = threading.Event(), threading.Event(), Pool.__init__

        def slow(self, *args, **options):
            if threading.current_thread() is maker:
                making.set()
                go.wait()
            make(self, *args, **options)

        Pool.__init__ = slow
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
