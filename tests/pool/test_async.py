"""Calls in async code, on asyncio and on trio."""

from __future__ import annotations

import threading
from contextlib import aclosing

import anyio
import anyio.to_thread
import pytest

from poolinfer import CallCancelled, Chat, Embed, EngineError, Pool, PoolClosed, Raw
from poolinfer.testing import FakeExecutor


async def until(condition):
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.002)


def test_the_six_calls_in_async_code(run_async):
    async def main():
        async with Pool(executor=FakeExecutor()) as pool:
            assert (await pool.achat("Hello there")).answer == "Hello there"
            assert (await pool.araw("Once upon")).text == "Once upon"
            assert (await pool.aembed("ab")).dimensions == 4
            assert len(await pool.aembed(["a", "b"])) == 2
            assert "".join([chunk.text async for chunk in pool.stream("a b")]) == "a b"
        with pytest.raises(PoolClosed):
            await pool.achat("too late")

    run_async(main)


def test_stream_gives_chunks_as_they_come(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        async with Pool(executor=executor) as pool:
            call = pool.stream("Count")
            await until(lambda: executor.taken)
            seen = []

            async def read():
                async for chunk in call:
                    seen.append(chunk.text)

            async with anyio.create_task_group() as group:
                group.start_soon(read)
                for text in ("one ", "two ", "three"):
                    executor.say(1, text)
                    await until(lambda text=text: seen and seen[-1] == text)
                executor.finish(1)
            assert seen == ["one ", "two ", "three"]
            assert (await call).text == "one two three"

    run_async(main)


def test_chunks_come_before_the_error(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        async with Pool(executor=executor) as pool:
            call = pool.stream("Count")
            await until(lambda: executor.taken)
            executor.say(1, "one ")
            executor.fail(1, EngineError("it broke"))
            seen = []
            with pytest.raises(EngineError, match="it broke"):  # noqa: PT012
                async for chunk in call:
                    seen.append(chunk.text)
            assert seen == ["one "]

    run_async(main)


def test_cancelling_the_task_cancels_the_call(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        async with Pool(executor=executor) as pool:

            async def ask():
                await pool.achat("a")

            async def read():
                async for _ in pool.stream("a"):
                    pass

            for n, work in enumerate((ask, read), 1):
                async with anyio.create_task_group() as group:
                    group.start_soon(work)
                    await until(lambda n=n: len(executor.taken) == n)
                    await anyio.wait_all_tasks_blocked()
                    group.cancel_scope.cancel()
                await until(lambda: executor.cancelled == executor.taken)
                executor.step()
            assert pool.stats().cancelled == 2
            await until(lambda: pool.stats().busy == 0)

    run_async(main)


def test_a_timeout_of_the_host_cancels_the_call(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        async with Pool(executor=executor) as pool:
            with anyio.move_on_after(0.05) as scope:
                await pool.araw("a")
            assert scope.cancelled_caught
            await until(lambda: pool.stats().cancelled == 1)
            executor.step()

    run_async(main)


def test_breaking_out_of_a_stream_cancels(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        async with Pool(executor=executor) as pool, anyio.create_task_group() as group:

            async def read():
                async for _ in pool.stream("a"):
                    break

            group.start_soon(read)
            await until(lambda: executor.taken)
            executor.say(1, "one ")
            await until(lambda: executor.cancelled == [1])
            executor.step()

    run_async(main)


def test_leaving_the_block_cancels(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        async with Pool(executor=executor) as pool:
            async with pool.submit(Raw("a")) as call:
                await until(lambda: executor.taken)
            with pytest.raises(CallCancelled):
                await call
            executor.step()

    run_async(main)


def test_awaiting_twice_and_by_many_tasks(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        async with Pool(executor=executor) as pool:
            call = pool.submit(Raw("a"))
            found = []

            async def wait():
                found.append(await call)

            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(wait)
                await until(lambda: len(call._ticket._waiters) == 5 and executor.taken)
                executor.say(1, "text")
                executor.finish(1)
            assert {id(response) for response in [*found, await call]} == {id(call.result())}

    run_async(main)


def test_amap_keeps_the_order(run_async):
    async def main():
        async with Pool(executor=FakeExecutor(slots=3)) as pool:
            prompts = [f"number {n}" for n in range(40)]
            assert [r.text async for r in pool.amap(prompts)] == prompts
            assert [r.text async for r in pool.amap(map(Raw, prompts), window=2)] == prompts
            assert [len(found) async for found in pool.amap([Embed(["a", "b"])])] == [2]

    run_async(main)


def test_amap_raises_at_its_place_and_cancels_the_rest(run_async):
    def reply(request):
        if request.prompt == "bad":
            raise EngineError("this one")
        return "fine"

    async def main():
        executor = FakeExecutor(reply)
        async with Pool(executor=executor) as pool:
            seen = []
            with pytest.raises(EngineError, match="this one"):  # noqa: PT012
                async for response in pool.amap(map(Raw, ["good", "bad", *["later"] * 30]), window=4):
                    seen.append(response.text)
            assert seen == ["fine"]
            assert pool.stats().accepted <= 6
            await until(lambda: pool.stats().busy == 0)

    run_async(main)


def test_amap_closed_early_cancels(run_async):
    async def main():
        executor = FakeExecutor(manual=True, slots=1)
        async with Pool(executor=executor) as pool, anyio.create_task_group() as group:

            async def read():
                async with aclosing(pool.amap(["a"] * 10, window=5)) as results:
                    async for _ in results:
                        break

            group.start_soon(read)
            await until(lambda: executor.taken)
            executor.finish(1)
            await until(lambda: pool.stats().cancelled == 4)
            executor.step()

    run_async(main)


def test_amap_waits_where_submit_says_pool_full(run_async):
    async def main():
        executor = FakeExecutor(manual=True, slots=1)
        async with Pool(executor=executor, max_queue=1) as pool, anyio.create_task_group() as group:
            calls = [pool.submit(Raw("other"))]
            await until(lambda: executor.taken)
            calls.append(pool.submit(Raw("other")))
            texts = []

            async def read():
                async for response in pool.amap(["a"] * 5, window=9):
                    texts.append(response.text)

            group.start_soon(read)
            await until(lambda: pool.stats().rejected > 2)
            while len(texts) < 5:
                for job in list(executor.jobs):
                    executor.finish(job)
                await anyio.sleep(0.002)
            assert [call.done() for call in calls] == [True, True]

    run_async(main)


def test_errors_in_the_block_close_the_pool(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with Pool(executor=executor) as pool:
                call = pool.submit(Raw("a"))
                _ = 1 / 0
        with pytest.raises(CallCancelled):
            await call
        assert pool.stats().state == "closed"

    run_async(main)


def test_aclose_lets_the_loop_run(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        pool = Pool(executor=executor)
        call = pool.submit(Chat("a"))
        await until(lambda: executor.taken)
        async with anyio.create_task_group() as group:
            group.start_soon(pool.aclose)
            await until(lambda: pool.stats().state == "closing")
            executor.say(1, "in time")
            executor.finish(1)
        assert (await call).text == "in time"

    run_async(main)


def test_cancelling_aclose_does_not_leave_a_half_closed_pool(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        pool = Pool(executor=executor)
        call = pool.submit(Chat("a"))
        await until(lambda: executor.taken)
        async with anyio.create_task_group() as group:
            group.start_soon(pool.aclose)
            await until(lambda: pool.stats().state == "closing")
            group.cancel_scope.cancel()
            executor.finish(1)
        assert call.done()
        assert pool.stats().state == "closed"

    run_async(main)


def test_cancelling_while_entering_closes_the_pool(run_async):
    """F-20 in async code: the task that waits for the model is cancelled."""
    closing = threading.Event()

    class Loading(FakeExecutor):
        def start(self, ready):
            closing.wait(30)
            super().start(ready)

        def close(self, grace):
            closing.set()
            super().close(grace)

    async def main():
        pool = Pool(executor=Loading(manual=True))
        with anyio.move_on_after(0.1) as scope:
            async with pool:
                pytest.fail("entered")
        assert scope.cancelled_caught
        await until(lambda: pool.stats().state == "closed")

    closing.clear()
    run_async(main)


def test_async_and_sync_waiters_of_one_call(run_async):
    async def main():
        executor = FakeExecutor(manual=True)
        async with Pool(executor=executor) as pool:
            call = pool.submit(Raw("a"))
            found = []
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, lambda: found.append(call.result()))
                await until(lambda: len(call._ticket._waiters) == 1 and executor.taken)
                executor.finish(1)
            assert found == [await call]

    run_async(main)
