"""Calls beside `concurrent.futures`: callbacks, `exception`, `wait`, `as_completed`; sync calls in event loops."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.handlers
import re
import sys
import threading
import warnings
from functools import partial

import anyio
import numpy
import pytest

import poolinfer
from poolinfer import (
    CallCancelled,
    EngineError,
    InvalidRequest,
    Pool,
    PoolClosed,
    PoolError,
    Raw,
    as_completed,
    wait,
)
from poolinfer._pool import wakers
from poolinfer.testing import FakeExecutor, wait_until

# Ways to wait in sync code, and what the warning in an event loop names instead.
TWINS = {
    "result": "await call",
    "exception": "await call",
    "iterate": "async for",
    "chat": "achat",
    "raw": "araw",
    "embed": "aembed",
    "map": "amap",
    "as_completed": "async for",
    "wait": r"`async for` over `as_completed\(..\)`, or `await`",
}


@pytest.fixture
def executor():
    return FakeExecutor(manual=True, slots=4)


@pytest.fixture
def pool(executor):
    pool = Pool(executor=executor)
    yield pool
    pool.close(0)


@pytest.fixture
def never_warned(monkeypatch):
    monkeypatch.setattr(wakers, "_warned", set())


def submitted(pool, executor, n):
    calls = [pool.submit(Raw(str(i))) for i in range(n)]
    wait_until(lambda: len(executor.taken) == n)
    return calls


def later(function, *args):
    timer = threading.Timer(0.05, function, args)
    timer.start()
    return timer


def test_exception_is_what_result_raises(pool, executor):
    good, bad, gone = submitted(pool, executor, 3)
    with pytest.raises(TimeoutError, match="goes on"):
        good.exception(0.01)
    executor.finish(1)
    executor.fail(2, EngineError("it broke"))
    gone.cancel()
    wait_until(gone.done)
    assert good.exception() is None
    assert isinstance(bad.exception(), EngineError)
    assert bad.exception() is not bad.exception()
    assert isinstance(gone.exception(), CallCancelled)
    assert [call.cancelled() for call in (good, bad, gone)] == [False, False, True]


def test_a_running_call_is_not_cancelled(pool, executor):
    (call,) = submitted(pool, executor, 1)
    assert not call.cancelled()


def test_callbacks_run_on_a_thread_that_is_there_for_nothing_else(pool, executor):
    heard = []
    first, second = submitted(pool, executor, 2)
    threads = threading.active_count()
    for call in (first, second):
        call.add_done_callback(lambda call: heard.append((call, threading.current_thread().name)))
    assert threading.active_count() == threads + 1
    executor.finish(1)
    second.cancel()
    wait_until(lambda: len(heard) == 2)
    first.add_done_callback(lambda call: heard.append((call, threading.current_thread().name)))
    wait_until(lambda: len(heard) == 3)
    assert [call for call, _ in heard] == [first, second, first]
    assert {name for _, name in heard} == {"poolinfer-callbacks"}


def test_a_slow_callback_holds_up_no_call(pool, executor):
    gate = threading.Event()
    first, second = submitted(pool, executor, 2)
    first.add_done_callback(lambda _: gate.wait(30))
    executor.finish(1)
    executor.finish(2)
    assert second.result(30).text == ""
    assert pool.submit(Raw("c")).cancel() is None
    gate.set()


def test_what_a_callback_raises_is_logged_and_the_next_one_runs(pool, executor, caplog):
    (call,) = submitted(pool, executor, 1)
    heard = threading.Event()
    call.add_done_callback(lambda _: 1 / 0)
    call.add_done_callback(lambda _: heard.set())
    executor.finish(1)
    assert heard.wait(30)
    assert "ZeroDivisionError" in caplog.text
    assert call.result().text == ""


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_what_ends_a_thread_is_logged_and_the_next_one_runs(
    pool, executor, caplog, error
):
    def fail(call):
        raise error

    first, second = submitted(pool, executor, 2)
    heard = threading.Event()
    first.add_done_callback(fail)
    executor.finish(1)
    wait_until(lambda: error.__name__ in caplog.text)
    second.add_done_callback(lambda _: heard.set())
    executor.finish(2)
    assert heard.wait(30)


def test_what_a_callback_raises_is_seen_where_nobody_has_set_a_log_up(pool, executor, monkeypatch):
    """The NullHandler kept it from everybody."""
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append((args.exc_type, args.thread.name)))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    (call,) = submitted(pool, executor, 1)
    heard = threading.Event()
    for callback in (lambda _: 1 / 0, lambda _: sys.exit(3), lambda _: heard.set()):
        call.add_done_callback(callback)
    executor.finish(1)
    assert heard.wait(30)
    assert seen == [(ZeroDivisionError, "poolinfer-callbacks"), (SystemExit, "poolinfer-callbacks")]


@pytest.mark.parametrize("name", ["", "poolinfer"])
def test_what_a_callback_raises_is_the_log_s_where_there_is_one(name, pool, executor, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    lines = logging.handlers.BufferingHandler(100)
    monkeypatch.setattr(logging.getLogger(name), "handlers", [lines])
    (call,) = submitted(pool, executor, 1)
    heard = threading.Event()
    call.add_done_callback(lambda _: 1 / 0)
    call.add_done_callback(lambda _: heard.set())
    executor.finish(1)
    assert heard.wait(30)
    assert "a callback of an ended call raised" in [record.getMessage() for record in lines.buffer]
    assert seen == []


def test_what_is_no_callback_is_refused(pool, executor):
    (call,) = submitted(pool, executor, 1)
    with pytest.raises(InvalidRequest, match=r"callback is 5: give a function"):
        call.add_done_callback(5)


def test_a_timeout_that_is_no_number_is_refused(pool, executor):
    (call,) = submitted(pool, executor, 1)
    uses = (call.result, call.exception, partial(wait, [call]), partial(as_completed, [call]))
    for use in uses:
        for timeout in ("5", True, float("nan"), [1]):
            with pytest.raises(InvalidRequest, match=r"^timeout is .*: use None or a number of seconds"):
                use(timeout=timeout)
    for timeout in (-1, 0, numpy.int64(0), numpy.float32(0.01)):
        with pytest.raises(TimeoutError):
            call.result(timeout)


def test_what_are_no_calls_is_refused_by_wait_and_as_completed(pool, executor):
    """A single call was read as if its pieces were calls."""
    (call,) = submitted(pool, executor, 1)
    for use in (wait, as_completed):
        for calls, message in (
            (call, "calls is a Call: give a list .*; for a single one use its result"),
            (5, "calls is 5"),
            ([call, "a"], r"calls\[1\] is 'a': use calls"),
            ([[call]], r"calls\[0\] is "),
        ):
            with pytest.raises(InvalidRequest, match=message):
                use(calls)


def test_f31_a_call_with_a_callback_is_not_dropped(pool, executor):
    heard = []
    call = pool.submit(Raw("a"))
    call.add_done_callback(lambda call: heard.append(call.result().text))
    del call
    gc.collect()
    wait_until(lambda: executor.taken)
    executor.say(1, "fire and forget")
    executor.finish(1)
    wait_until(lambda: heard == ["fire and forget"])
    assert executor.cancelled == []


def test_close_waits_for_callbacks_and_later_ones_run_all_the_same():
    heard = []
    gate = threading.Event()
    executor = FakeExecutor(manual=True)
    pool = Pool(executor=executor)
    (call,) = submitted(pool, executor, 1)
    call.add_done_callback(lambda _: heard.append(gate.wait(30)))
    later(gate.set)
    pool.close(0)
    assert heard == [True]
    call.add_done_callback(lambda _: heard.append("late"))
    wait_until(lambda: heard == [True, "late"])


def test_callbacks_of_a_pool_closed_before_its_conductor_has_run(monkeypatch):
    from poolinfer._pool.lifecycle import PoolLifecycle

    go, conduct = threading.Event(), PoolLifecycle._conduct
    monkeypatch.setattr(PoolLifecycle, "_conduct", lambda lifecycle: go.wait(30) and conduct(lifecycle))
    pool = Pool(executor=FakeExecutor())
    heard = []
    pool.submit(Raw("a")).add_done_callback(lambda call: heard.append(call.cancelled()))
    pool.close()
    assert heard == [True]
    go.set()


def test_f19_close_in_a_callback_is_an_error_and_no_deadlock(pool, executor, caplog):
    (call,) = submitted(pool, executor, 1)
    heard = threading.Event()
    said = []

    def close(_):
        try:
            pool.close()
        except PoolError as error:
            said.append(str(error))
        finally:
            heard.set()

    call.add_done_callback(close)
    executor.finish(1)
    assert heard.wait(30)
    assert re.search("own threads.*another thread: a callback may start one", said[0])
    assert "Error" not in caplog.text


def test_as_completed_gives_calls_as_they_end(pool, executor):
    calls = submitted(pool, executor, 4)
    executor.finish(3)
    found = as_completed([*calls, calls[0]])
    assert next(found) is calls[2]
    later(executor.finish, 2)
    assert next(found) is calls[1]
    calls[3].cancel()
    assert next(found) is calls[3]
    executor.finish(1)
    assert list(found) == [calls[0]]
    assert list(as_completed([])) == []


def test_as_completed_has_a_deadline_and_the_calls_go_on(pool, executor):
    calls = submitted(pool, executor, 2)
    executor.finish(1)
    found = as_completed(calls, timeout=0.05)
    assert next(found) is calls[0]
    with pytest.raises(TimeoutError, match=r"1 calls did not end within 0\.05 s"):
        next(found)
    assert not calls[1].done()


def test_dropping_as_completed_drops_the_calls(pool, executor):
    found = as_completed(submitted(pool, executor, 2))
    executor.finish(1)
    next(found)
    del found
    gc.collect()
    wait_until(lambda: executor.cancelled == [2])


def test_as_completed_in_async_code(run_async):
    async def main():
        executor = FakeExecutor(manual=True, slots=3)
        async with Pool(executor=executor) as pool:
            calls = [pool.submit(Raw("a")) for _ in range(3)]
            while len(executor.taken) < 3:
                await anyio.sleep(0.002)
            executor.finish(2)
            seen = []
            async for call in as_completed(calls):
                seen.append(calls.index(call) + 1)
                if len(seen) < 3:
                    later(executor.finish, {1: 3, 2: 1}[len(seen)])
            assert seen == [2, 3, 1]
            stuck = as_completed([pool.submit(Raw("a"))], timeout=0.05)
            with pytest.raises(TimeoutError):
                await stuck.__anext__()
            del stuck
            await pool.aclose(0)

    run_async(main)


def test_wait_says_what_is_done(pool, executor):
    calls = submitted(pool, executor, 3)
    for _ in range(3):
        assert wait(calls, 0) == (set(), set(calls))
    assert all(call._ticket._waiters == [] for call in calls)
    executor.finish(1)
    assert wait(calls, return_when="FIRST_COMPLETED") == ({calls[0]}, {calls[1], calls[2]})
    later(executor.fail, 2, EngineError("no"))
    found = wait(calls, return_when="FIRST_EXCEPTION")
    assert (found.done, found.not_done) == ({calls[0], calls[1]}, {calls[2]})
    later(executor.finish, 3)
    assert wait(calls).done == set(calls)
    with pytest.raises(InvalidRequest, match="return_when"):
        wait(calls, return_when="ALL")


def test_calls_are_awaitables_of_asyncio():
    async def main():
        async with Pool(executor=FakeExecutor()) as pool:
            calls = [pool.submit(Raw(text)) for text in "abc"]
            assert [response.text for response in await asyncio.gather(*calls)] == ["a", "b", "c"]
            assert (await asyncio.wait_for(pool.submit(Raw("d")), 30)).text == "d"
            assert (await asyncio.ensure_future(pool.submit(Raw("e")))).text == "e"

    asyncio.run(main())


def _read(pool, call, how):
    """One way to wait in sync code."""
    if how in ("result", "exception"):
        getattr(call, how)()
    elif how == "iterate":
        list(call)
    elif how in ("chat", "raw", "embed"):
        getattr(pool, how)("a")
    elif how == "map":
        list(pool.map(["a"]))
    elif how == "as_completed":
        list(as_completed([call]))
    else:
        wait([call])


@pytest.mark.parametrize("how", TWINS)
def test_a_sync_call_in_an_event_loop_warns_once(how, run_async, never_warned):
    """It names what to use instead, and the line of the host that did it."""
    gate = threading.Event()

    def reply(request):
        gate.wait(30)
        return [1.0] if isinstance(request, poolinfer.Embed) else "ok"

    async def main():
        async with Pool(executor=FakeExecutor(reply)) as pool:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(2):
                    gate.clear()
                    later(gate.set)
                    _read(pool, pool.submit(Raw("a")), how)
            return caught

    (warning,) = run_async(main)
    assert warning.category is RuntimeWarning
    assert re.search(TWINS[how], str(warning.message))
    assert warning.filename == __file__


def _start(pool):
    pool.start()


def _close(pool):
    pool.close()


def _with(pool):
    with pool:
        pass


@pytest.mark.parametrize(
    ("use", "twin"), [(_start, "`async with`"), (_with, "`async with`"), (_close, "`await aclose()`")]
)
def test_starting_and_closing_in_an_event_loop_warn_once(use, twin, run_async, never_warned):
    async def main():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                pool = Pool(executor=FakeExecutor())
                if use is _close:
                    await pool.submit(Raw("a"))
                use(pool)
                await pool.aclose()
        return caught

    (warning,) = run_async(main)
    assert warning.category is RuntimeWarning
    assert twin in str(warning.message)
    assert warning.filename == __file__


def test_no_warning_where_a_pool_s_start_and_end_wait_for_nothing(run_async, never_warned):
    async def main():
        Pool(executor=FakeExecutor()).close()
        async with Pool(executor=FakeExecutor()) as pool:
            pool.start()
        pool.close()
        with pytest.raises(PoolClosed):
            pool.start()

    run_async(main)
    assert wakers._warned == set()


def test_a_pool_is_closed_where_the_warning_is_an_error(run_async, never_warned):
    async def main():
        pool = Pool(executor=FakeExecutor())
        await pool.submit(Raw("a"))
        with pytest.raises(RuntimeWarning, match="await aclose"):
            pool.close()
        assert pool.stats().state == "closed"

    run_async(main)


def test_no_warning_where_nothing_waits_or_no_loop_runs(pool, executor, never_warned):
    (call,) = submitted(pool, executor, 1)
    later(executor.finish, 1)
    call.result()

    async def main():
        assert call.result().text == ""
        with pytest.raises(TimeoutError):
            pool.submit(Raw("a")).result(0)
        return len(list(call))

    assert asyncio.run(main()) == 0


def test_no_warning_under_an_ipython_kernel(pool, executor, never_warned, monkeypatch):
    """A kernel runs every cell inside a loop; sync calls are what one writes there."""
    from types import SimpleNamespace

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    (call,) = submitted(pool, executor, 1)

    async def main():
        later(executor.finish, 1)
        return call.result().text

    assert asyncio.run(main()) == ""
    assert wakers._warned == set()


def test_the_future_s_methods_refuse_in_a_forked_child(run_script):
    done = run_script(
        """
        import os, warnings
        import poolinfer
        from poolinfer import ForkedPool, Pool, Raw
        from poolinfer.testing import FakeExecutor

        warnings.simplefilter("ignore", DeprecationWarning)
        executor = FakeExecutor(manual=True)
        pool = Pool(executor=executor)
        call = pool.submit(Raw("a"))
        pid = os.fork()
        if pid == 0:
            for use in (call.exception, lambda: call.add_done_callback(print),
                        lambda: next(poolinfer.as_completed([call])), lambda: poolinfer.wait([call])):
                try:
                    use()
                except ForkedPool:
                    continue
                os._exit(1)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        pool.close(0)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
