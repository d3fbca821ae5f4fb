"""Event loops that close, that are several, and that their host blocks (F-32, F-33, F-36)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
import trio
from settled import settled

from poolinfer import Chat, Pool, Raw
from poolinfer._pool.wakers import loop_waker
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool, wait_until


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


def test_f36_a_blocked_loop(run_async):
    """Inference goes on while the host blocks its loop, and what was not read meanwhile comes as one piece."""

    async def main():
        async with fake_pool(FakeEngine(tokens=300)) as pool:
            call = pool.stream(Raw("abc"))
            other = pool.submit(Chat("xyz"))
            wait_until(lambda: call.done() and other.done(), "the calls' end, on a blocked loop")
            pieces = [piece.text async for piece in call]
            assert pieces == [("abc" * 100)]
            assert len((await other).text) == 300

    run_async(main)
