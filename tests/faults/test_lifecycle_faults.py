"""Lifecycle and concurrency faults, each by its id in docs/reliability.md."""

from __future__ import annotations

import ast
import asyncio
import functools
import gc
import os
import random
import resource
import signal
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
import trio

import poolinfer
from poolinfer import CallCancelled, Chat, DeadlineExceeded, Pool, PoolFull, Raw
from poolinfer._data.events import Job
from poolinfer._data.results import Chunk
from poolinfer._pool.dispatcher import Dispatcher
from poolinfer._pool.ticket import Cursor, TextBuffer, Ticket
from poolinfer._pool.wakers import loop_waker
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool, wait_until

N_WAITERS = 10_000
SRC = str(Path(poolinfer.__file__).parent)


def settled(pool):
    """Nothing runs, waits or holds a slot; no call is lost."""
    wait_until(lambda: pool.stats().busy + pool.stats().running + pool.stats().waiting == 0, "busy == 0")
    stats = pool.stats()
    assert stats.stopping == 0
    assert stats.accepted == stats.succeeded + stats.failed + stats.cancelled + stats.expired
    return stats


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


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


def test_f25_ctrl_c_while_waiting_for_a_result():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a"))
        _interrupt_when(lambda: call._ticket._waiters)
        with pytest.raises(KeyboardInterrupt):
            call.result()
        _expect_cancelled_and_usable(pool, executor, call)


def test_f25_ctrl_c_while_reading():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.stream("a")
        _interrupt_when(lambda: call._ticket._readers)
        with pytest.raises(KeyboardInterrupt):
            for _ in call:
                pass
        _expect_cancelled_and_usable(pool, executor, call)


def test_f25_ctrl_c_in_map():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        _interrupt_when(lambda: pool.stats().accepted == 5)
        with pytest.raises(KeyboardInterrupt):
            list(pool.map(["a"] * 9, window=5))
        wait_until(lambda: pool.stats().cancelled == 5)
        wait_until(lambda: executor.cancelled == executor.taken)
        executor.step()
        settled(pool)


def _interrupt_when(condition):
    def wait():
        wait_until(condition)
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait).start()


def _expect_cancelled_and_usable(pool, executor, call):
    with pytest.raises(CallCancelled):
        call.result()
    wait_until(lambda: executor.cancelled == executor.taken)
    executor.step()
    again = pool.submit(Raw("b"))
    wait_until(lambda: len(executor.jobs) == 1)
    executor.finish(executor.taken[-1])
    assert again.result().text == ""
    settled(pool)


def test_f25_ctrl_c_in_a_script(run_script):
    """As a person does it: the pool outlives it, and the process ends well."""
    done = run_script(
        """
        import os, signal, threading
        from poolinfer import Pool, Raw
        from poolinfer.testing import FakeEngine, fake_pool, wait_until

        engine = FakeEngine(tokens=10**6, step_delay=0.01)
        with fake_pool(engine) as pool:
            def interrupt():
                wait_until(lambda: engine.steps > 3)
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=interrupt).start()
            try:
                pool.raw("abc")
            except KeyboardInterrupt:
                print("interrupted")
            engine.tokens = 2
            print(pool.raw("xyz").text)
        print(engine.leaks())
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\nxy\n[]\n", "")


class Interrupter:
    """Raises KeyboardInterrupt at the n-th line that the main thread runs in the library (trace events)."""

    def __init__(self, n):
        self.left = n
        self.where = ""
        self._last = {}

    def __enter__(self):
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _enter(self, frame, event, arg):
        above = frame
        while above is not None:
            # Python cannot deliver what is raised in a finaliser.
            if above.f_code.co_name == "__del__":
                return None
            above = above.f_back
        return self._line if frame.f_code.co_filename.startswith(SRC) else None

    def _line(self, frame, event, arg):
        if event == "line" and not self._leaves_a_block(frame):
            self.left -= 1
            if self.left == 0:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise KeyboardInterrupt
        return self._line

    def _leaves_a_block(self, frame):
        """Whether a ``with`` is about to call ``__exit__``, or a ``try`` to do nothing: no signal strikes there."""
        before, self._last[id(frame)] = self._last.get(id(frame), 0), frame.f_lineno
        blocks, tries = _blocks(frame.f_code.co_filename)
        return frame.f_lineno in tries or frame.f_lineno < before <= blocks.get(frame.f_lineno, 0)


@functools.cache
def _blocks(path):
    """The last line of each ``with`` block by its first, and the lines of ``try``."""
    nodes = list(ast.walk(ast.parse(Path(path).read_text())))
    blocks = {node.lineno: node.end_lineno for node in nodes if isinstance(node, ast.With)}
    return blocks, {node.lineno for node in nodes if isinstance(node, ast.Try)}


def _ask(pool):
    return pool.submit(Raw("a b")).result().text


def _cancel(pool):
    call = pool.submit(Raw("a b"))
    call.cancel()
    return "a b"


def _read(pool):
    return "".join(piece.text for piece in pool.submit(Raw("a b")))


@pytest.fixture
def quick_collections():
    """Garbage is looked for only among what the test makes, so that looking often takes no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("work", [_ask, _read, _cancel])
def test_f26_ctrl_c_at_every_line(work, quick_collections):
    """Wherever Ctrl-C strikes in submit, result, iteration and cancel, no call is lost and no slot."""
    bad = []
    for n in range(1, 2000):
        with Pool(executor=FakeExecutor()) as pool:
            interrupter = Interrupter(n)
            try:
                with interrupter:
                    assert work(pool) == "a b"
            except KeyboardInterrupt:
                pass
            gc.collect()
            trouble = _trouble(pool)
            if trouble:
                bad.append(f"{interrupter.where}: {trouble}")
                pool.close(0)
            if not interrupter.where or len(bad) > 5:
                break
    assert not bad, "\n".join(bad)
    assert n > 30
    assert interrupter.where == ""


def _trouble(pool):
    """What is wrong with a pool that has nothing to do."""
    try:
        wait_until(lambda: pool.stats().running + pool.stats().waiting + pool.stats().busy == 0, timeout=1)
        assert pool.submit(Raw("c d")).result(timeout=3).text == "c d"
        stats = pool.stats()
    except Exception as error:
        return repr(error)
    ended = stats.succeeded + stats.failed + stats.cancelled + stats.expired
    live = len(pool._lifecycle._dispatcher._live)
    fine = stats.accepted == ended + live and live == 0
    return "" if fine else f"accepted {stats.accepted}, ended {ended}, live {live}"


def test_f27_ten_thousand_sync_waiters(capsys):
    gate = threading.Event()
    executor = FakeExecutor(lambda request: "ok" if gate.wait(120) else "", slots=8)
    with Pool(executor=executor, max_queue=N_WAITERS) as pool:
        pool.start()
        memory, threads, began = resident(), threading.active_count(), time.monotonic()
        tracemalloc.start()
        calls = [pool.submit(Raw("a")) for _ in range(N_WAITERS)]
        wait_until(lambda: len(executor.taken) == 8)
        traced = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        more_memory, more_threads = resident() - memory, threading.active_count() - threads
        gate.set()
        assert {call.result(60).text for call in calls} == {"ok"}
        seconds = time.monotonic() - began
        assert executor.taken == sorted(executor.taken)
        settled(pool)
    _report(capsys, "sync", seconds, traced, more_memory, more_threads)
    assert seconds < 20
    assert traced < 80e6
    assert traced / N_WAITERS < 8192
    assert more_threads < 10


def test_f27_ten_thousand_async_waiters(run_async, capsys):
    gate = threading.Event()
    executor = FakeExecutor(lambda request: "ok" if gate.wait(120) else "", slots=8)
    found = []

    async def ask(pool):
        found.append(await pool.araw("a"))

    async def main():
        async with Pool(executor=executor, max_queue=N_WAITERS) as pool:
            memory, threads, began = resident(), threading.active_count(), time.monotonic()
            async with anyio.create_task_group() as group:
                for _ in range(N_WAITERS):
                    group.start_soon(ask, pool)
                while pool.stats().accepted < N_WAITERS:
                    await anyio.sleep(0.01)
                more_memory, more_threads = resident() - memory, threading.active_count() - threads
                gate.set()
            seconds = time.monotonic() - began
            await anyio.to_thread.run_sync(settled, pool)
        return seconds, 0, more_memory, more_threads

    figures = run_async(main)
    _report(capsys, "async", *figures)
    assert [response.text for response in found] == ["ok"] * N_WAITERS
    assert figures[0] < 20
    assert figures[2] < 80e6 + 60e6
    assert figures[3] < 10


def _report(capsys, kind, seconds, traced, memory, threads):
    with capsys.disabled():
        print(
            f"\nF-27 {kind}: {N_WAITERS} waiters, {seconds:.2f} s, {memory / 1e6:.0f} MB more RSS,"
            f" {traced / 1e6:.0f} MB traced, {threads} more threads"
        )


def test_f28_cancel_half_of_three_thousand_running_calls():
    executor = FakeExecutor(manual=True, slots=3000)
    with Pool(executor=executor, max_queue=5000) as pool:
        calls = [pool.submit(Raw("a")) for _ in range(4000)]
        wait_until(lambda: len(executor.taken) == 3000)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda call: call.cancel(), calls[::2]))
        wait_until(lambda: pool.stats().cancelled == 2000)
        while executor.jobs:
            executor.step()
            for job_id in list(executor.jobs):
                executor.finish(job_id)
        stats = settled(pool)
    assert (stats.succeeded, stats.cancelled) == (2000, 2000)
    never = {call._ticket.job.id for call in calls[3000::2]}
    assert not never & set(executor.taken)


def test_f28_cancel_storm_over_lanes():
    engine = FakeEngine(tokens=20)
    with fake_pool(engine, workers=2, slots=8) as pool:
        calls = [pool.submit(Raw(f"call {n} ")) for n in range(400)]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda call: call.cancel(), calls[::2]))
        for n, call in enumerate(calls):
            if n % 2:
                assert call.result().text == (f"call {n} " * 20)[:20]
            else:
                wait_until(call.done)
        stats = settled(pool)
        # What was cancelled while it waited never got a sampler; what runs always has one.
        assert engine.samplers <= stats.accepted
    assert stats.succeeded >= 200
    assert engine.leaks() == []


def test_f28_cancelled_waiting_calls_never_reach_the_engine():
    hang = threading.Event()
    engine = FakeEngine(hang=hang)
    with fake_pool(engine, slots=2) as pool:
        running = [pool.submit(Raw("ab")) for _ in range(2)]
        wait_until(lambda: engine.samplers == 2)
        waiting = [pool.submit(Raw("cd")) for _ in range(100)]
        for call in waiting:
            call.cancel()
        wait_until(lambda: all(call.done() for call in waiting))
        hang.set()
        assert [call.result().text for call in running] == ["ab", "ab"]
        settled(pool)
    assert engine.samplers == 2
    assert engine.leaks() == []


def test_f29_a_full_queue_says_so_at_once():
    executor = FakeExecutor(manual=True, slots=1)
    with Pool(executor=executor, max_queue=2) as pool:
        calls = [pool.submit(Raw("a"))]
        wait_until(lambda: executor.taken)
        calls += [pool.submit(Raw("a")) for _ in range(2)]
        for _ in range(3):
            with pytest.raises(PoolFull, match="max_queue=2") as caught:
                pool.submit(Raw("a"))
            assert caught.value.retry_after > 0
        assert pool.stats().rejected == 3
        for _ in range(3):
            calls[1].cancel()
        calls.append(pool.submit(Raw("a")))
        with pytest.raises(PoolFull):
            pool.submit(Raw("a"))
        pool.close(0)


@pytest.mark.parametrize("timeout", [0, 0.0, 0.25])
def test_f29_a_deadline_names_the_configured_time(timeout):
    executor = FakeExecutor(manual=True, slots=1)
    with Pool(executor=executor) as pool:
        blocker = pool.submit(Raw("a"))
        wait_until(lambda: executor.taken)
        with pytest.raises(DeadlineExceeded, match=f"timeout of {float(timeout)} s") as caught:
            pool.raw("b", timeout=timeout)
        assert caught.value.timeout == timeout
        assert isinstance(caught.value, TimeoutError)
        blocker.cancel()
        wait_until(lambda: executor.cancelled == [1])
        executor.step()
        assert executor.taken == [1]


def test_f29_a_zero_timeout_never_reaches_an_idle_executor():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        for _ in range(20):
            with pytest.raises(DeadlineExceeded):
                pool.raw("b", timeout=0)
    assert executor.taken == []


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


@pytest.mark.parametrize("reading", [False, True])
def test_f32_loop_closed_before_delivery(reading):
    """The emitting thread lives on, and the call that nobody can read is cancelled."""
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a"))
        wait_until(lambda: executor.taken)
        waiting = call.__aiter__().__anext__() if reading else call._wait()
        _run_until_it_waits_then_close(waiting)
        executor.say(1, "nobody hears this")
        if reading:
            wait_until(lambda: executor.cancelled == [1])
        executor.finish(1)
        settled(pool)
        assert call.done()
        waiting.close()
        again = pool.submit(Raw("b"))
        wait_until(lambda: len(executor.taken) == 2)
        executor.finish(2)
        assert again.result().text == ""


def _run_until_it_waits_then_close(coroutine):
    """Drives a coroutine by hand inside a loop, up to its first wait, and closes the loop."""
    loop = asyncio.new_event_loop()

    async def main():
        task = loop.create_task(_hold(coroutine))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    loop.run_until_complete(main())
    loop.close()


async def _hold(coroutine):
    coroutine.send(None)
    await asyncio.sleep(3600)


def test_f32_waking_a_trio_run_that_is_over():
    async def main():
        return loop_waker()

    _, wake = trio.run(main)
    with pytest.raises(RuntimeError):
        wake()


def test_f33_two_loops_and_threads_at_once():
    texts = []

    async def ask(pool, kind):
        async def one(n):
            response = await pool.araw(f"{kind} {n}")
            texts.append((f"{kind} {n}", response.text))

        async with anyio.create_task_group() as group:
            for n in range(50):
                group.start_soon(one, n)

    def loop(pool, kind):
        anyio.run(ask, pool, kind, backend=kind)

    def plain(pool):
        for n in range(50):
            texts.append((f"thread {n}", pool.raw(f"thread {n}").text))

    with fake_pool(slots=8) as pool, ThreadPoolExecutor(6) as threads:
        work = [threads.submit(loop, pool, kind) for kind in ("asyncio", "trio", "asyncio")]
        work += [threads.submit(plain, pool) for _ in range(2)]
        for one in work:
            one.result(50)
        settled(pool)
    assert len(texts) == 250
    assert all(asked == answered for asked, answered in texts)


def test_f33_one_call_awaited_in_two_loops():
    executor = FakeExecutor(manual=True)
    found = []

    async def wait(call):
        found.append(await call)

    with Pool(executor=executor) as pool, ThreadPoolExecutor(3) as threads:
        call = pool.submit(Raw("a"))
        work = [
            threads.submit(lambda: anyio.run(wait, call, backend="asyncio")),
            threads.submit(lambda: anyio.run(wait, call, backend="trio")),
            threads.submit(lambda: found.append(call.result())),
        ]
        wait_until(lambda: len(call._ticket._waiters) == 3 and executor.taken)
        executor.finish(1)
        for one in work:
            one.result(30)
    assert len(found) == 3


def test_f34_cancel_at_any_time_is_no_error():
    executor = FakeExecutor(manual=True, slots=1)
    with Pool(executor=executor) as pool:
        running, waiting, ended = (pool.submit(Raw("a")) for _ in range(3))
        wait_until(lambda: executor.taken)
        waiting.cancel()
        waiting.cancel()
        for _ in range(2):
            thread = threading.Thread(target=running.cancel)
            thread.start()
            thread.join()
        wait_until(lambda: waiting.done() and executor.cancelled)
        executor.step()
        wait_until(lambda: len(executor.taken) == 2)
        executor.say(executor.taken[-1], "ended")
        executor.finish(executor.taken[-1])
        ended.cancel()
        assert ended.result().text == "ended"
        settled(pool)
    assert executor.taken == [1, 3]


def test_f34_cancel_from_a_signal_handler():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a"))
        before = signal.signal(signal.SIGUSR1, lambda *_: call.cancel())
        try:

            def send():
                wait_until(lambda: call._ticket._waiters)
                os.kill(os.getpid(), signal.SIGUSR1)

            threading.Thread(target=send).start()
            with pytest.raises(CallCancelled):
                call.result()
        finally:
            signal.signal(signal.SIGUSR1, before)
        wait_until(lambda: executor.cancelled == executor.taken)
        executor.step()
        settled(pool)


def test_f34_cancel_from_a_signal_handler_at_every_line(run_script):
    """A handler may strike while the main thread holds one of our locks: it must not wait for itself."""
    done = run_script(
        """
        import faulthandler, os, sys
        import poolinfer
        from poolinfer import Pool, Raw
        from poolinfer.testing import FakeExecutor

        faulthandler.dump_traceback_later(20, exit=True)
        src = os.path.dirname(poolinfer.__file__)

        def run(n):
            left = n
            def line(frame, event, arg):
                nonlocal left
                if event == "line":
                    left -= 1
                    if left == 0:
                        sys.settrace(None)
                        victim.cancel()
                return line
            def enter(frame, event, arg):
                return line if frame.f_code.co_filename.startswith(src) else None
            with Pool(executor=FakeExecutor(manual=True)) as pool:
                victim = pool.submit(Raw("victim"))
                sys.settrace(enter)
                other = pool.submit(Raw("other"))
                other.done()
                pool.stats()
                other.cancel()
                sys.settrace(None)
                pool.close(0)
            return left <= 0

        n = 1
        while run(n):
            n += 1
        print("done", n > 20, flush=True)
        """
    )
    assert done.stdout == "done True\n", done.stderr[-3000:]


def test_f34_looking_at_a_call_and_its_pool_from_a_signal_handler_at_every_line(run_script):
    """The thread below the handler looks at them as well, under locks; what it reads is whole all the same."""
    done = run_script(
        """
        import faulthandler, os, sys
        import poolinfer
        from poolinfer import Pool, Raw
        from poolinfer.testing import FakeExecutor, wait_until

        faulthandler.dump_traceback_later(40, exit=True)
        src = os.path.dirname(poolinfer.__file__)

        def run(n):
            left = n
            def line(frame, event, arg):
                nonlocal left
                if event == "line":
                    left -= 1
                    if left == 0:
                        sys.settrace(None)
                        look()
                return line
            def enter(frame, event, arg):
                return line if frame.f_code.co_filename.startswith(src) else None
            def look():
                assert call.partial in ("ab", "abc")
                call.add_done_callback(heard.append)
                assert pool.stats().busy == 1
                repr(pool)
            heard = []
            executor = FakeExecutor(manual=True)
            pool = Pool(executor=executor)
            call = pool.submit(Raw("a"))
            wait_until(lambda: executor.taken)
            number = call._ticket.job.id
            executor.say(number, "a")
            executor.say(number, "b")
            pieces = iter(call)
            sys.settrace(enter)
            found = next(pieces).text
            executor.say(number, "c")
            found += next(pieces).text
            look()
            sys.settrace(None)
            executor.finish(number)
            assert found + "".join(piece.text for piece in pieces) == call.partial == "abc", found
            pool.close()
            assert len(heard) == (2 if left <= 0 else 1)
            return left <= 0

        n = 1
        while run(n):
            n += 1
        print("done", n > 50, flush=True)
        """
    )
    assert done.stdout == "done True\n", done.stderr[-3000:]


@pytest.mark.parametrize("when", range(12))
def test_f34_a_reader_that_reads_while_it_reads_loses_and_doubles_nothing(monkeypatch, when):
    """A signal handler that takes the next piece from the iterator that its thread takes one from."""
    ticket = Ticket(Job(1, Raw("a")), 0.0, float("inf"))
    cursor, found, left, since = Cursor(), [], when, TextBuffer.since

    def interrupt():
        nonlocal left
        left -= 1
        if left == -1:
            found.append(ticket.read(cursor))
            ticket.grow(Chunk("d", "D"))
            assert ticket.text == "abcd"

    def interrupted(text, offset):
        interrupt()
        part = since(text, offset)
        interrupt()
        return part

    ticket.grow(Chunk("a", "A"))
    found.append(ticket.read(cursor))
    ticket.grow(Chunk("b", "B"))
    ticket.grow(Chunk("c", "C"))
    monkeypatch.setattr(TextBuffer, "since", interrupted)
    found.append(ticket.read(cursor))
    found.append(ticket.read(cursor))
    whole = "abcd" if left < 0 else "abc"
    assert "".join(chunk.text for chunk in found if chunk is not None) == whole
    assert "".join(chunk.answer for chunk in found if chunk is not None) == whole.upper()


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="the system has no such signal")
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_f34_stats_from_a_signal_handler(run_script, executor):
    done = run_script(
        f"""
        import faulthandler, signal, sys
        from poolinfer import Pool, Raw
        from poolinfer._executors.process import ProcessExecutor
        from poolinfer._data.specs import LaneSpec, ModelSpec
        from poolinfer.testing import FakeEngine, fake_pool
        from poolinfer.testing._crash import crash_program

        faulthandler.dump_traceback_later(40, exit=True)
        if {executor!r} == "thread":
            pool = fake_pool(FakeEngine())
        else:
            spec = ModelSpec("", (0, 0, 0, 0)), LaneSpec(n_ctx=4096, slots=4)
            pool = Pool(executor=ProcessExecutor(*spec, program=crash_program()))
        pool.start()
        left = 3

        def line(frame, event, arg):
            global left
            if event == "line":
                left -= 1
                if left == 0:
                    sys.settrace(None)
                    signal.raise_signal(signal.SIGALRM)
            return line

        signal.signal(signal.SIGALRM, lambda *_: pool.stats())
        own = type(pool._lifecycle._executor).stats.__code__
        for n in range(1, 30):
            left = n
            sys.settrace(lambda frame, event, arg: line if frame.f_code is own else None)
            pool.stats()
            sys.settrace(None)
        pool.close(0)
        print("done", left > 0, flush=True)
        """
    )
    assert done.stdout == "done True\n", done.stderr[-3000:]


def test_f34_submit_from_a_signal_handler_at_every_line(run_script):
    """A full queue counts what waits, under a lock that the thread below the handler may hold."""
    done = run_script(
        """
        import faulthandler, os, sys
        import poolinfer
        from poolinfer import Pool, PoolFull, Raw
        from poolinfer.testing import FakeExecutor, wait_until

        faulthandler.dump_traceback_later(40, exit=True)
        src = os.path.dirname(poolinfer.__file__)

        def run(n):
            left = n
            refused = []
            def ask():
                try:
                    pool.submit(Raw("from the handler"))
                except PoolFull:
                    refused.append(True)
            def line(frame, event, arg):
                nonlocal left
                if event == "line":
                    left -= 1
                    if left == 0:
                        sys.settrace(None)
                        ask()
                return line
            def enter(frame, event, arg):
                return line if frame.f_code.co_filename.startswith(src) else None
            executor = FakeExecutor(manual=True, slots=1)
            with Pool(executor=executor, max_queue=1) as pool:
                calls = [pool.submit(Raw("a"))]
                wait_until(lambda: executor.taken)
                calls.append(pool.submit(Raw("b")))
                sys.settrace(enter)
                ask()
                pool.stats()
                calls[1].cancel()
                sys.settrace(None)
                assert refused
                pool.close(0)
            return left <= 0

        n = 1
        while run(n):
            n += 1
        print("done", n > 20, flush=True)
        """
    )
    assert done.stdout == "done True\n", done.stderr[-3000:]


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


def test_f36_a_blocked_loop(run_async):
    """Inference goes on while the host blocks its loop; unread pieces come as one, and nobody is blamed."""

    async def main():
        async with fake_pool(FakeEngine(tokens=300)) as pool:
            call = pool.stream(Raw("abc"))
            other = pool.submit(Chat("xyz"))
            wait_until(lambda: call.done() and other.done(), "the calls' end, on a blocked loop")
            pieces = [piece.text async for piece in call]
            assert pieces == [("abc" * 100)]
            assert len((await other).text) == 300

    run_async(main)


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
