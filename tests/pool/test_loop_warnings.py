"""Sync calls inside a running event loop warn once, and name the async twin."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import warnings

import pytest
from submitted import later, submitted

import poolinfer
from poolinfer import Pool, PoolClosed, Raw, as_completed, wait
from poolinfer._pool import wakers
from poolinfer.testing import FakeExecutor

# Ways to wait in sync code, and what the warning in an event loop recommends instead.
TWINS = {
    "result": "await call",
    "exception": "await call",
    "iterate": "async for",
    "chat": "achat",
    "run": "arun",
    "raw": "araw",
    "embed": "aembed",
    "map": "amap",
    "as_completed": "async for",
    "wait": r"`async for` over `as_completed\(..\)`, or `await`",
}


@pytest.fixture
def never_warned(monkeypatch):
    monkeypatch.setattr(wakers, "_warned", set())


def _read(pool, call, how):
    """Wait for a call in one of the ways of sync code."""
    if how in ("result", "exception"):
        getattr(call, how)()
    elif how == "iterate":
        list(call)
    elif how in ("chat", "raw", "embed"):
        getattr(pool, how)("a")
    elif how == "run":
        pool.session().run("a")
    elif how == "map":
        list(pool.map(["a"]))
    elif how == "as_completed":
        list(as_completed([call]))
    else:
        wait([call])


@pytest.mark.parametrize("how", TWINS)
def test_a_sync_call_in_an_event_loop_warns_once(how, run_async, never_warned):
    """The warning names what to use instead, and the line of the host that made the call."""
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
    """A kernel runs every cell inside a loop, and sync calls are usual there."""
    from types import SimpleNamespace

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    (call,) = submitted(pool, executor, 1)

    async def main():
        later(executor.finish, 1)
        return call.result().text

    assert asyncio.run(main()) == ""
    assert wakers._warned == set()
