"""Requests that are too large for an event loop are checked on another thread (F-43, promises P2 and P10)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anyio
import pytest

from poolinfer import (
    CallCancelled,
    Chat,
    DeadlineExceeded,
    Embed,
    InvalidRequest,
    Pool,
    PoolClosed,
    PoolFull,
    Raw,
)
from poolinfer.testing import FakeExecutor, wait_until

USER = {"role": "user", "content": "hi"}
MANY = 2000
RunAsync = Callable[..., Any]


class Turn(Mapping[str, Any]):
    """A message that notes which thread reads it; reading waits until the message is opened."""

    def __init__(self, content: object = "last", opened: bool = True) -> None:
        self._items = {"role": "user", "content": content}
        self.readers: set[str] = set()
        self.read = threading.Event()
        self.open = threading.Event()
        if opened:
            self.open.set()

    def __getitem__(self, key: str) -> Any:
        self.readers.add(threading.current_thread().name)
        self.read.set()
        assert self.open.wait(20)
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def large(turn: Turn) -> list[Any]:
    return [USER] * MANY + [turn]


def test_a_large_request_is_checked_off_the_event_loop(run_async: RunAsync) -> None:
    small, big, stream = Turn(), Turn(), Turn()

    async def main() -> None:
        async with Pool(executor=FakeExecutor()) as pool:
            assert (await pool.achat([small])).answer == "last"
            assert (await pool.achat(large(big))).answer == "last"
            chunks = [chunk.text async for chunk in pool.stream(large(stream))]
            assert chunks == ["last"]
            assert (await pool.araw("x " * 200_000, max_tokens=1)).text == "x "
            assert len(await pool.submit(Embed(["a"] * MANY))) == MANY
            assert pool.stats().succeeded == 5

    run_async(main)
    assert small.readers == {"MainThread"}
    assert big.readers == stream.readers == {"poolinfer-checker"}


def test_elsewhere_it_is_checked_by_its_caller() -> None:
    turn = Turn()
    with Pool(executor=FakeExecutor()) as pool:
        assert pool.chat(large(turn)).answer == "last"
        with pytest.raises(InvalidRequest) as caught:
            pool.submit(Chat(large(Turn(5))))
        assert caught.value.field == f"messages[{MANY}].content"
    assert turn.readers == {"MainThread"}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Chat(large(Turn(5))), f"messages[{MANY}].content"),
        (
            Chat("x", tools=[{"function": {"name": "f", "parameters": {"a": [{}] * MANY + [{1}]}}}]),
            "tools[0].function.parameters",
        ),
        (Raw("x" * 400_000 + "\ud800"), "prompt"),
        (Embed(["a"] * MANY + [""]), f"input[{MANY}]"),
    ],
)
def test_what_is_refused_off_the_event_loop_reaches_no_engine(
    run_async: RunAsync, request_: Any, field: str
) -> None:
    executor = FakeExecutor()

    async def main() -> None:
        async with Pool(executor=executor) as pool:
            with pytest.raises(InvalidRequest) as caught:
                await pool.submit(request_)
            assert caught.value.field == field
            stats = pool.stats()
            assert (stats.accepted, stats.failed, stats.waiting) == (1, 1, 0)

    run_async(main)
    assert not executor.taken


def test_what_is_small_of_a_large_request_is_refused_at_once(run_async: RunAsync) -> None:
    async def main() -> None:
        async with Pool(executor=FakeExecutor()) as pool:
            for bad, field in (
                (Chat(large(Turn()), top_p=2), "top_p"),
                (Chat([USER] * 5000), "messages"),
                (Raw("x" * (4 * 2**20 + 1)), "prompt"),
                (Embed(["a"] * 5000), "input"),
                (Chat(5), "prompt"),  # type: ignore[arg-type]
            ):
                with pytest.raises(InvalidRequest) as caught:
                    pool.submit(bad)
                assert caught.value.field == field
            assert pool.stats().accepted == 0

    run_async(main)


@pytest.mark.parametrize("end", ["cancel", "timeout", "close"])
def test_a_call_ends_while_its_request_is_checked(run_async: RunAsync, end: str) -> None:
    """The executor does not get the request afterwards; the checker's thread ends before the pool has closed."""
    executor = FakeExecutor()
    turn = Turn(opened=False)
    error = DeadlineExceeded if end == "timeout" else CallCancelled

    async def main() -> None:
        async with Pool(executor=executor) as pool:
            call = pool.submit(Chat(large(turn), timeout=0.05 if end == "timeout" else None))
            await anyio.to_thread.run_sync(turn.read.wait)
            async with anyio.create_task_group() as tasks:
                if end == "cancel":
                    call.cancel()
                elif end == "close":
                    tasks.start_soon(pool.aclose, 0.0)
                with pytest.raises(error):
                    await call
                turn.open.set()
            if end != "close":
                assert (await pool.achat("next")).answer == "next"

    run_async(main)
    assert len(executor.taken) == (end != "close")


def test_a_large_request_waits_in_the_queue_while_it_is_checked(run_async: RunAsync) -> None:
    executor = FakeExecutor(slots=0)
    turn = Turn(opened=False)

    async def main() -> None:
        async with Pool(executor=executor, max_queue=1) as pool:
            call = pool.submit(Chat(large(turn)))
            await anyio.to_thread.run_sync(turn.read.wait)
            assert pool.stats().waiting == 1
            with pytest.raises(PoolFull):
                pool.submit(Chat("x"))
            turn.open.set()
            executor.slots = 4
            executor.ready()
            assert (await call).answer == "last"

    run_async(main)


def test_large_requests_are_checked_one_after_the_other_and_in_order(run_async: RunAsync) -> None:
    executor = FakeExecutor(lambda request: "ok", slots=1)
    first = Turn(opened=False)

    async def main() -> None:
        async with Pool(executor=executor) as pool:
            calls = [pool.submit(Chat(large(turn))) for turn in (first, Turn(), Turn(5), Turn())]
            small = pool.submit(Chat("small"))
            assert (await small).answer == "ok"
            names = [thread.name for thread in threading.enumerate()]
            assert names.count("poolinfer-checker") == 1
            first.open.set()
            for call in (calls[0], calls[1], calls[3]):
                assert (await call).answer == "ok"
            with pytest.raises(InvalidRequest):
                await calls[2]
            await anyio.to_thread.run_sync(
                wait_until, lambda: "poolinfer-checker" not in {t.name for t in threading.enumerate()}
            )

    run_async(main)
    assert executor.taken == [5, 1, 2, 4]


def test_lists_may_grow_after_submit_and_other_changes_are_refused_or_seen(run_async: RunAsync) -> None:
    class Changing(Turn):
        def __getitem__(self, key: str) -> Any:
            raise RuntimeError("dictionary changed size during iteration")

    async def main() -> None:
        async with Pool(executor=FakeExecutor()) as pool:
            blocker, turns = Turn(opened=False), large(Turn())
            texts = ["a"] * MANY
            before = pool.submit(Chat(large(blocker)))
            chat, embed = pool.submit(Chat(turns)), pool.submit(Embed(texts))
            turns.append({"role": "user", "content": "later"})
            texts.append("later")
            blocker.open.set()
            assert (await before).answer == (await chat).answer == "last"
            assert len(await embed) == MANY
            with pytest.raises(InvalidRequest, match="do not change its lists and dicts") as caught:
                await pool.submit(Chat(large(Changing())))
            assert caught.value.field == "request"

    run_async(main)


def test_a_closed_pool_refuses_large_requests_at_once(run_async: RunAsync) -> None:
    async def main() -> None:
        pool = Pool(executor=FakeExecutor())
        await pool.aclose()
        with pytest.raises(PoolClosed):
            pool.submit(Chat(large(Turn())))

    run_async(main)
