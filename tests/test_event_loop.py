"""Promise P10: the event loop is never blocked for 50 ms by us."""

from __future__ import annotations

import asyncio
import gc
import time

from poolinfer import Model, Pool

STREAMS = 16
TICK = 0.005
LATEST = 0.05


async def _tick(late: list[float], stop: asyncio.Event) -> None:
    while not stop.is_set():
        due = time.monotonic() + TICK
        await asyncio.sleep(TICK)
        late.append(time.monotonic() - due)


async def _read(pool: Pool) -> int:
    pieces = 0
    async for piece in pool.stream("Count from 1 to 60.", temperature=0):
        assert piece.text
        pieces += 1
    return pieces


async def _measure(pool: Pool) -> tuple[list[float], int]:
    late: list[float] = []
    stop = asyncio.Event()
    ticker = asyncio.create_task(_tick(late, stop))
    pieces = 0
    for _ in range(4):
        pieces += sum(await asyncio.gather(*(_read(pool) for _ in range(STREAMS))))
    stop.set()
    await ticker
    return late, pieces


def test_P10_a_ticker_is_never_late_beside_16_streams(tiny: Model) -> None:
    async def main() -> tuple[list[float], int]:
        async with Pool(tiny, workers=1, slots=STREAMS, threads=1) as pool:
            await pool.achat("What is 1 plus 1?", temperature=0)
            return await _measure(pool)

    gc.collect()
    # A shared machine can take the core away from any process for longer than this: the best of three rounds
    # shows what is ours, and a stall of ours would show in all of them.
    rounds = [asyncio.run(main()) for _ in range(3)]
    worst = [max(late) for late, _ in rounds]
    print(
        f"16 streams, {rounds[0][1]} pieces; latest tick of each round, ms: {[round(w * 1e3, 1) for w in worst]}"
    )
    assert all(len(late) > 10 for late, _ in rounds)
    assert min(worst) < LATEST
