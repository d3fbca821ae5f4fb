"""`Pool(executor="process")`: the same calls, on another executor."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from poolinfer import InvalidRequest, Model, Pool, demo_model
from poolinfer._executors.process import ProcessExecutor
from poolinfer.testing import wait_until


def _executor(pool: Pool) -> ProcessExecutor:
    executor = pool._lifecycle._executor
    assert isinstance(executor, ProcessExecutor)
    return executor


@pytest.fixture(params=["process", "prefork"])
def executor(request) -> str:
    return request.param


@pytest.mark.parametrize("share", ["mmap", "repack"])
def test_a_pool_of_processes_in_sync_code(executor, share) -> None:
    with Pool(demo_model(), executor=executor, workers=2, slots=2, share=share) as pool:
        assert (
            pool.chat("What is the capital of Peru?", temperature=0).answer == "The capital of Peru is Lima."
        )
        assert len(list(pool.map(["What is 1 plus 1?"] * 8, temperature=0))) == 8
        assert pool.embed("a").dimensions > 0
        assert "".join(piece.text for piece in pool.stream("Count from 1 to 3.", temperature=0))
        stats = pool.stats()
        assert (stats.workers, stats.slots) == (2, 4)
        os.kill(_executor(pool).pids[0], signal.SIGKILL)
        wait_until(lambda: pool.stats().crashed == 1)
        assert (
            pool.chat("What is the capital of Peru?", temperature=0).answer == "The capital of Peru is Lima."
        )


def test_a_pool_of_processes_on_an_event_loop(run_async, tiny: Model, executor) -> None:
    async def ask() -> list[str]:
        async with Pool(tiny, executor=executor) as pool:
            call = pool.stream("Count from 1 to 3.", temperature=0)
            pieces = [piece.text async for piece in call]
            return ["".join(pieces), (await call).text]

    streamed, whole = run_async(ask)
    assert streamed == whole


def test_it_starts_by_itself(tiny: Model, executor) -> None:
    pool = Pool(tiny, executor=executor, max_calls=2, retries=0)
    try:
        for _ in range(5):
            assert pool.raw("a", max_tokens=1, timeout=40).usage.completion_tokens == 1
        assert pool.stats().recycled >= 1
    finally:
        pool.close()


def test_cancelling_the_awaiting_task_cancels_the_call(tiny: Model, executor) -> None:
    async def main() -> None:
        async with Pool(tiny, executor=executor, slots=1) as pool:
            task = asyncio.create_task(pool.araw("Count", max_tokens=400, temperature=1.5, seed=1))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # There is one slot, which the cancelled call gave back.
            assert (await pool.araw("a", max_tokens=1)).usage.completion_tokens == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share", "all"),
        ("retries", 2),
        ("retries", -1),
        ("max_calls", 0),
        ("max_rss", 5),
        ("max_age", 0),
        ("idle_timeout", -1),
        ("max_workers", 0),
        ("executor", "fork"),
    ],
)
def test_bad_options_are_refused(tiny: Model, name: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Pool(tiny, **{"executor": "process", name: value})
    assert caught.value.field == name
