"""Reuse of prefixes seen from a pool: what it counts, and that it changes no answer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from gguf_models import WRITERS
from shared_prompts import N, ask

from poolinfer import Chat, InvalidRequest, Model, Pool, Raw
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.engine_protocol import Batch, EngineAborted
from poolinfer._engine.llama.library import load
from poolinfer.testing import FakeEngine, fake_pool

COUNTRIES = ("Peru", "Japan", "France", "Italy", "Spain", "Egypt", "Kenya", "Cuba", "Chile", "Canada")


# Through a pool.


def test_a_pool_counts_what_it_reused() -> None:
    with fake_pool(FakeEngine(), slots=4) as pool:
        replies = list(pool.map([Raw(ask(n), temperature=0) for n in range(20)]))
        stats = pool.stats()
    assert [reply.text for reply in replies] == [ask(n) for n in range(20)]
    assert stats.cached_tokens == sum(reply.usage.cached_tokens for reply in replies) >= 19 * N
    assert stats.prompt_tokens == 20 * len(ask(0))


@pytest.fixture(scope="module")
def dialogues(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """64 chats with what was said before in them."""
    return [item for item in questions if not item.get("tools") and len(item["messages"]) in (3, 4, 5)][:64]


@pytest.mark.parametrize("slots", [2, 3, 8])
def test_64_chats_answer_as_ever_whatever_they_share(
    tiny: Model, dialogues: list[dict[str, Any]], slots: int
) -> None:
    order = [item for item in dialogues for _ in range(3)]
    with Pool(tiny, workers=1, slots=slots, threads=1) as pool:
        replies = pool.map([Chat(item["messages"], temperature=0) for item in order])
        texts = [reply.text for reply in replies]
        stats = pool.stats()
    assert texts == [item["answer"] for item in order]
    assert stats.cached_tokens > stats.prompt_tokens / 2


def test_a_shared_system_prompt_changes_no_answer(tiny: Model) -> None:
    system = {"role": "system", "content": "Answer in one sentence. " * 12}
    chats = [
        Chat([system, {"role": "user", "content": f"What is the capital of {name}?"}], temperature=0)
        for name in COUNTRIES
    ]
    with Pool(tiny, slots=1, threads=1) as pool:
        alone = [pool.submit(chat).result() for chat in chats]
        assert not any(reply.usage.cached_tokens for reply in alone)
    with Pool(tiny, slots=4, threads=1) as pool:
        together = list(pool.map(chats * 4))
    assert [reply.text for reply in together] == [reply.text for reply in alone] * 4
    n_system = together[-1].usage.prompt_tokens // 2
    assert sum(reply.usage.cached_tokens > n_system for reply in together) >= len(together) - 1


def test_each_turn_of_a_conversation_computes_what_is_new(tiny: Model) -> None:
    messages: list[dict[str, str]] = []
    with Pool(tiny, slots=2, threads=1) as pool:
        before = 0
        for name in COUNTRIES[:6]:
            messages.append({"role": "user", "content": f"What is the capital of {name}?"})
            reply = pool.chat(messages, temperature=0)
            assert reply.usage.cached_tokens >= before
            before = reply.usage.prompt_tokens + reply.usage.completion_tokens - 1
            messages.append({"role": "assistant", "content": reply.answer})


def test_random_prompts_say_the_same_shared_and_unshared(tiny: Model) -> None:
    """With several calls in a batch a near tie may go the other way; a wrong copy would spoil nearly all."""
    chosen = random.Random(5)
    words = ["apple", "river", "sum", "What", "is", "capital", "seven", "the", "of", "Count", "hello", "."]
    starts = [" ".join(chosen.choices(words, k=40)) for _ in range(5)]
    requests = [
        Raw(
            chosen.choice(starts) + " " + " ".join(chosen.choices(words, k=chosen.randrange(1, 20))),
            temperature=0,
            max_tokens=24,
        )
        for _ in range(60)
    ]
    texts, reused = [], []
    for prefix_cache in (False, True):
        with Pool(tiny, slots=4, threads=1, prefix_cache=prefix_cache) as pool:
            texts.append([reply.text for reply in pool.map(requests)])
            reused.append(pool.stats().cached_tokens)
    assert reused[0] == 0 < reused[1]
    assert sum(a == b for a, b in zip(*texts, strict=True)) >= len(requests) - 2


@pytest.mark.parametrize("kind", ["llama", "mamba", "jamba", "gemma2"])
def test_models_whose_memory_cannot_be_cut_reuse_nothing(tmp_path: Path, kind: str) -> None:
    model = Model.load(WRITERS[kind](tmp_path / f"{kind}.gguf"))
    requests = [Raw("the same beginning " * 5 + f"number {n}", max_tokens=8, temperature=0) for n in range(8)]
    with Pool(model, slots=1, threads=1, n_ctx=256) as pool:
        alone = [reply.text for reply in pool.map(requests)]
    with Pool(model, slots=4, threads=1, n_ctx=256) as pool:
        together = [reply.text for reply in pool.map(requests * 2)]
        assert (pool.stats().cached_tokens > 0) == (kind == "llama")
    assert sum(a == b for a, b in zip(together, alone * 2, strict=True)) >= len(together) - 2


def test_P7_the_exact_mode_reuses_only_when_told(tiny: Model) -> None:
    chat = Chat("What is the capital of Peru? " * 8, temperature=0)
    for prefix_cache, reuses in ((None, False), (True, True)):
        with Pool(tiny, slots=1, threads=1, n_batch=32, prefix_cache=prefix_cache) as pool:
            replies = [pool.submit(chat).result() for _ in range(3)]
            assert (pool.stats().cached_tokens > 0) == reuses
            assert len({reply.text for reply in replies}) == 1


def test_the_option_is_a_bool(tiny: Model) -> None:
    with pytest.raises(InvalidRequest, match="prefix_cache"):
        Pool(tiny, prefix_cache="yes")  # type: ignore[arg-type]


def test_a_copy_survives_a_decode_that_was_stopped(tiny: Model) -> None:
    """The engine copies at the start of the next decode; one that is aborted at once must not lose it."""
    engine = load(tiny.spec, LaneSpec(slots=4, n_ctx=512), lambda: False)
    context = engine.rectangle(4, 512)
    prompt = engine.tokenize("What is the capital of Peru? " * 8, add_special=True, parse_special=False)

    def compute(sequence: int, start: int) -> Any:
        batch = Batch()
        row = batch.add(sequence, start, prompt[start:], last=True)
        context.decode(batch)
        return context.logits(row).copy()

    try:
        expected = compute(2, 0)
        for n in (1, 20, len(prompt) - 1):
            context.copy(2, 1)
            context.cut(1, n)
            context.abort(True)
            with pytest.raises(EngineAborted):
                compute(1, n)
            context.abort(False)
            context.cut(1, n)
            assert abs(compute(1, n) - expected).max() < 0.02 * abs(expected).max()
    finally:
        context.close()
        engine.close()
