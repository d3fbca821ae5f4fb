"""Every answer belongs to its question, and same seed means same text, in worker processes as in threads."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from poolinfer import Chat, Model, Pool, PoolinferError, WorkerLost
from poolinfer._data.specs import LaneSpec
from poolinfer._executors.process import ProcessExecutor

QUESTIONS = Path(__file__).parents[2] / "tools" / "tiny_model" / "questions.json"
SHAPES = list(itertools.product((1, 2, 3), (1, 2, 3, 4)))


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    """Single-turn questions with answers of their own."""
    found: dict[str, dict[str, Any]] = {}
    for item in json.loads(QUESTIONS.read_text()):
        if len(item["messages"]) == 1 and not item.get("tools"):
            found.setdefault(item["answer"], item)
    assert len(found) >= 40
    return list(found.values())


@pytest.fixture(params=[False, True], ids=["process", "prefork"])
def prefork(request) -> bool:
    """Whether workers are forked."""
    return request.param


def _executor(model: Model, workers: int, slots: int, **options: Any) -> ProcessExecutor:
    return ProcessExecutor(
        model.spec, LaneSpec(slots=slots, n_ctx=512, flash_attention=False), workers=workers, **options
    )


@pytest.mark.parametrize(("workers", "slots"), SHAPES)
def test_every_answer_belongs_to_its_question(
    tiny: Model, items: list[dict[str, Any]], workers: int, slots: int, prefork: bool
):
    with Pool(executor=_executor(tiny, workers, slots, prefork=prefork)) as pool:
        calls = [pool.submit(Chat(item["messages"], temperature=0)) for item in items]
        assert [call.result(40).text for call in calls] == [item["answer"] for item in items]


@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (1, 4), (2, 2), (3, 3), (3, 4)])
def test_every_answer_belongs_to_its_question_on_an_event_loop(
    run_async: Any, tiny: Model, items: list[dict[str, Any]], workers: int, slots: int, prefork: bool
):
    async def ask(pool: Pool, item: dict[str, Any], texts: dict[str, str]) -> None:
        texts[item["answer"]] = (await pool.achat(item["messages"], temperature=0, timeout=40)).text

    async def main() -> dict[str, str]:
        texts: dict[str, str] = {}
        async with (
            Pool(executor=_executor(tiny, workers, slots, prefork=prefork)) as pool,
            anyio.create_task_group() as group,
        ):
            for item in items:
                group.start_soon(ask, pool, item, texts)
        return texts

    assert run_async(main) == {item["answer"]: item["answer"] for item in items}


def test_P7_same_seed_same_text_as_in_a_thread(tiny: Model, prefork: bool):
    ask = {"seed": 7, "temperature": 1.5, "max_tokens": 24}
    with Pool(tiny, workers=1, slots=1, threads=1, n_ctx=512) as pool:
        expected = pool.raw("The ", **ask).text
    for share in ("mmap", "repack"):
        with Pool(executor=_executor(tiny, 1, 1, share=share, prefork=prefork)) as pool:
            assert pool.raw("The ", **ask).text == expected


def test_logprobs_come_with_the_bytes_of_parts_of_characters(tiny: Model, prefork: bool):
    with Pool(executor=_executor(tiny, 1, 2, prefork=prefork)) as pool:
        reply = pool.chat("Say hello in Japanese.", temperature=0, top_logprobs=2)
    content = reply.to_openai()["choices"][0]["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in content).decode() == reply.text == "こんにちは"


def test_embeddings_are_those_of_a_thread(tiny: Model, prefork: bool):
    with Pool(executor=_executor(tiny, 1, 2, prefork=prefork)) as pool:
        ours = pool.embed(["one text", "another"])
    theirs = tiny.embed(["one text", "another"])
    assert [item.dimensions for item in ours] == [item.dimensions for item in theirs]
    assert all(a.cosine_similarity(b) > 0.999 for a, b in zip(ours, theirs, strict=True))


def test_no_answer_is_lost_or_crossed_while_workers_die(
    tiny: Model, items: list[dict[str, Any]], prefork: bool
):
    executor = _executor(tiny, 2, 4, prefork=prefork)
    with Pool(executor=executor) as pool:
        calls = [pool.submit(Chat(item["messages"], temperature=0)) for item in items * 5]
        for _ in range(2):
            calls[20].result(40)
            os.kill(executor.pids[0], signal.SIGKILL)
        lost = 0
        for call, item in zip(calls, items * 5, strict=True):
            try:
                assert call.result(40).text == item["answer"]
            except PoolinferError as error:
                assert isinstance(error, WorkerLost)
                assert item["answer"].startswith(error.partial)
                lost += 1
        assert lost <= 8
        assert pool.stats().accepted == len(calls)
        assert pool.stats().busy == 0
