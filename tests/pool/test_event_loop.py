"""Promise P10: poolinfer never blocks the event loop for 50 ms."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

import pytest

from poolinfer import Chat, Embed, Model, Pool, Raw
from poolinfer._checks.limits import LIMITS
from poolinfer._checks.normalize import normalize
from poolinfer.testing import FakeExecutor

pytestmark = pytest.mark.alone

STREAMS = 16
TICK = 0.005
LATEST = 0.05


async def _tick(late: list[float], stop: asyncio.Event) -> None:
    while not stop.is_set():
        due = time.monotonic() + TICK
        await asyncio.sleep(TICK)
        late.append(time.monotonic() - due)


async def _read(pool: Pool) -> int:
    chunks = 0
    async for chunk in pool.stream("Count from 1 to 60.", temperature=0):
        assert chunk.text
        chunks += 1
    return chunks


async def _measure(pool: Pool) -> tuple[list[float], int]:
    late: list[float] = []
    stop = asyncio.Event()
    ticker = asyncio.create_task(_tick(late, stop))
    chunks = 0
    for _ in range(4):
        chunks += sum(await asyncio.gather(*(_read(pool) for _ in range(STREAMS))))
    stop.set()
    await ticker
    return late, chunks


def test_P10_a_ticker_is_never_late_beside_16_streams(tiny: Model) -> None:
    async def main() -> tuple[list[float], int]:
        async with Pool(tiny, workers=1, slots=STREAMS, threads=1) as pool:
            await pool.achat("What is 1 plus 1?", temperature=0)
            return await _measure(pool)

    gc.collect()
    # A shared machine can take the core away from any process for longer than this. A stall of poolinfer's own
    # shows in every round, so one good round is enough.
    worst: list[float] = []
    while len(worst) < 3 and min(worst, default=1.0) >= LATEST:
        late, chunks = asyncio.run(main())
        assert len(late) > 10
        worst.append(max(late))
    print(f"16 streams, {chunks} chunks; latest tick of each round, ms: {[round(w * 1e3, 1) for w in worst]}")
    assert min(worst) < LATEST


USER = {"role": "user", "content": "hi"}
BYTES, ITEMS = int(LIMITS["prompt"].high), int(LIMITS["items"].high)


def _parts() -> Chat:
    """A chat with as many messages, parts and characters as the limits allow."""
    text = "x" * (BYTES // ITEMS)
    return Chat([{"role": "user", "content": [{"type": "text", "text": text}] * 15}] * 4096)


def _tool_calls(arguments: Callable[[int], object]) -> Chat:
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": arguments(i)}}
        for i in range(128)
    ]
    turn = {"role": "assistant", "content": None, "tool_calls": calls}
    return Chat([turn] * 46 + [USER])


def _tools() -> Chat:
    schema = {f"p{i}": {"type": "string", "description": "é" * 9} for i in range(30)}
    tools = [
        {"type": "function", "function": {"name": f"f{i}", "parameters": {"properties": schema}}}
        for i in range(128)
    ]
    return Chat("x", tools=tools)


def _one_json_text() -> Chat:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a":[' + "[]," * 60_000 + "0]}"}}
    return Chat([{"role": "assistant", "content": None, "tool_calls": [call]}, USER])


# The largest of each kind within the documented limits.
LARGEST: dict[str, Callable[[], Any]] = {
    "parts": _parts,
    "arguments as texts": lambda: _tool_calls(lambda i: '{"a": [1, 2, 3, 4, 5, {"b": "' + "x" * i + '"}]}'),
    "arguments as dicts": lambda: _tool_calls(lambda i: {"a": [1, 2, 3, 4, 5, {"b": "x" * i}]}),
    "one json text": _one_json_text,
    "tools": _tools,
    "prompt": lambda: Raw("\u00e9" * (BYTES // 2)),
    "texts": lambda: Embed(["\u00e9" * 512] * 4096),
    "text": lambda: Embed("\u00e9" * (BYTES // 2)),
    "options": lambda: Raw("x", logit_bias=dict.fromkeys(range(1024), 1.0), stop=["x" * 256] * 16),
}


async def _submit_beside_a_ticker(request: Any) -> float:
    async with Pool(executor=FakeExecutor(_reply)) as pool:
        await pool.achat("x")
        late: list[float] = []
        stop = asyncio.Event()
        ticker = asyncio.create_task(_tick(late, stop))
        await asyncio.sleep(2 * TICK)
        await pool.submit(request)
        stop.set()
        await ticker
        return max(late)


def _reply(request: Any) -> Any:
    return [1.0] if isinstance(request, Embed) else "ok"


@pytest.mark.parametrize("kind", LARGEST)
def test_P10_a_ticker_is_never_late_beside_the_largest_requests(kind: str) -> None:
    request = LARGEST[kind]()
    began = time.perf_counter()
    assert normalize(request)
    seconds = time.perf_counter() - began
    gc.collect()
    # Walking over the heap of the test run is no stall of poolinfer's.
    gc.freeze()
    worst: list[float] = []
    try:
        while len(worst) < 3 and min(worst, default=1.0) >= LATEST:
            worst.append(asyncio.run(_submit_beside_a_ticker(request)))
    finally:
        gc.unfreeze()
    print(
        f"{kind}: checked in {seconds * 1e3:.1f} ms; latest ticks, ms: {[round(w * 1e3, 1) for w in worst]}"
    )
    # A busy machine takes longer to check requests, and its ticks are later, too.
    assert min(worst) < LATEST + seconds / 4
