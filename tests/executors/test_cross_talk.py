"""Every answer belongs to its question, on every combination of workers and slots, from threads and a loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from poolinfer import Chat, Model, Pool

SHAPES = list(itertools.product((1, 2), range(1, 9)))


@pytest.fixture(scope="module")
def distinct(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """64 chats with answers of their own."""
    found: dict[str, dict[str, Any]] = {}
    for item in questions:
        if not item.get("tools"):
            found.setdefault(item["answer"], item)
    assert len(found) >= 64
    return list(found.values())[:64]


@pytest.fixture(scope="module")
def one_at_a_time(tiny: Model, distinct: list[dict[str, Any]]) -> list[str]:
    """What the model answers when nobody else calls it."""
    with Pool(tiny, workers=1, slots=1, threads=1) as pool:
        return [pool.chat(item["messages"], temperature=0).text for item in distinct]


def _check(texts: Sequence[str], distinct: list[dict[str, Any]], alone: list[str], slots: int) -> None:
    assert list(texts) == [item["answer"] for item in distinct]
    if slots == 1:
        assert list(texts) == alone


@pytest.mark.parametrize(("workers", "slots"), SHAPES)
def test_64_threads(
    tiny: Model, distinct: list[dict[str, Any]], one_at_a_time: list[str], workers: int, slots: int
) -> None:
    with Pool(tiny, workers=workers, slots=slots, threads=1) as pool, ThreadPoolExecutor(64) as threads:
        texts = threads.map(lambda item: pool.chat(item["messages"], temperature=0).text, distinct)
        _check(list(texts), distinct, one_at_a_time, slots)


@pytest.mark.parametrize(("workers", "slots"), SHAPES)
def test_one_event_loop(
    tiny: Model, distinct: list[dict[str, Any]], one_at_a_time: list[str], workers: int, slots: int
) -> None:
    async def ask_all() -> list[str]:
        async with Pool(tiny, workers=workers, slots=slots, threads=1) as pool:
            calls = [pool.achat(item["messages"], temperature=0) for item in distinct]
            return [reply.text for reply in await asyncio.gather(*calls)]

    _check(asyncio.run(ask_all()), distinct, one_at_a_time, slots)


def test_F74_canaries_never_cross(tiny: Model) -> None:
    """Cancelled neighbours in the middle of their prompts leave nothing behind in a recycled context."""
    words = ["apple", "river", "stone", "cloud", "tiger", "lemon", "piano", "chair"]
    with Pool(tiny, workers=1, slots=2, threads=1) as pool:
        for n in range(60):
            doomed = pool.submit(Chat(f"Repeat after me: {words[n % 8]} {words[(n + 3) % 8]}", temperature=0))
            kept = pool.submit(Chat(f"What is {n % 20} plus {n % 7}?", temperature=0))
            doomed.cancel()
            answer = kept.result(timeout=30).text
            assert not any(word in answer for word in words), answer
            assert str(n % 20 + n % 7) in answer


def test_P7_same_seed_same_text(tiny: Model) -> None:
    texts = set()
    for workers in (1, 2):
        with Pool(tiny, workers=workers, slots=1, threads=1) as pool:
            for _ in range(3):
                texts.add(pool.raw("The ", seed=7, temperature=1.5, max_tokens=24).text)
    assert len(texts) == 1
