"""Ten thousand callers, storms of cancels, and the queue's bound (F-27 to F-29)."""

from __future__ import annotations

import resource
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
from settled import settled

from poolinfer import DeadlineExceeded, Pool, PoolFull, Raw
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool, wait_until

N_WAITERS = 10_000


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


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
