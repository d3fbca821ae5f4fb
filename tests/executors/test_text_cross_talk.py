"""Every vector, score and token belongs to its text, beside chats, on threads and in worker processes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from poolinfer import Model, Pool, demo_model

CHATS = ("What is the capital of Peru?", "What is 20 plus 3?", "Say hello in Japanese.")


async def ask(pool: Pool, n: int) -> Any:
    """One of five kinds of calls, which differs for each number."""
    documents = [f"{n} {'word ' * k}{k}" for k in range(6)]
    if n % 5 == 0:
        return (await pool.achat(CHATS[n % 3], temperature=0, max_tokens=12)).answer
    if n % 5 == 1:
        return [vector.tolist() for vector in await pool.aembed(documents)]
    if n % 5 == 2:
        found = await pool.arerank(f"number {n}", documents, raw_scores=True)
        return [score for _, score in sorted((one.index, one.relevance_score) for one in found)]
    if n % 5 == 3:
        return await pool.adetokenize(await pool.atokenize(documents[-1]))
    return [vector.tolist() for vector in await pool.aembed(documents, late_chunking=True)]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_texts_beside_chats(executor: str) -> None:
    model = Model.load(demo_model(), reranker="judge")

    async def ask_all(slots: int) -> list[Any]:
        async with Pool(model, executor=executor, workers=1, slots=slots, threads=1, n_ctx=512) as pool:
            if slots == 1:
                return [await ask(pool, n) for n in range(20)]
            return await asyncio.gather(*(ask(pool, n) for n in range(20)))

    alone, together = asyncio.run(ask_all(1)), asyncio.run(ask_all(6))
    for n, (expected, found) in enumerate(zip(alone, together, strict=True)):
        if n % 5 == 2:
            # Quantised weights round otherwise in another batch; the scores of other texts are further away.
            assert found == pytest.approx(expected, abs=0.3)
        elif n % 5 in (1, 4):
            for own, vector in zip(expected, found, strict=True):
                assert vector == pytest.approx(own, rel=0.05, abs=0.15)
        else:
            assert found == expected
