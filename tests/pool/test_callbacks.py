"""What hosts hang on their calls: callbacks, which have a thread of their own."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.handlers
import re
import sys
import threading

import pytest
from submitted import later, submitted

from poolinfer import InvalidRequest, Pool, PoolError, Raw
from poolinfer.testing import FakeExecutor, wait_until


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
    """Before, the NullHandler of our logger took the error, and nobody saw it."""
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
