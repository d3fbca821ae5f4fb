"""Documents ranked: any number of them, in parts, in order, and what cannot be ranked."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import anyio
import pytest

from poolinfer import (
    Chat,
    DeadlineExceeded,
    EngineError,
    InvalidRequest,
    Pool,
    RankedDocument,
    Rerank,
    UnknownOption,
)
from poolinfer.executor import DocumentScore
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool


def async_rerank(backend: str, pool: Pool, *args: Any, **options: Any) -> list[RankedDocument]:
    return anyio.run(partial(pool.arerank, *args, **options), backend=backend)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def ranked(request: Any) -> Any:
    """Each of `rerank` and `arerank`, as a sync function."""
    return Pool.rerank if request.param == "sync" else partial(async_rerank, request.param)


def ranker(**options: Any) -> Pool:
    """A pool whose raw score of a document is a thousandth of the sum of its bytes and of those around it."""
    return fake_pool(FakeEngine(ranking="logit", **options), workers=2, slots=4)


def raw_score(query: str, document: str) -> float:
    """What the fake engine gives: its vocabulary puts one control token between both, and another one after."""
    return (sum(query.encode()) + 256 + sum(document.encode()) + 257) / 1000


def test_documents_of_any_number_come_best_first(ranked: Any) -> None:
    documents = [chr(97 + n % 26) * (1 + n % 5) for n in range(600)]
    with ranker() as pool:
        found = ranked(pool, "q", (text for text in documents), raw_scores=True)
        assert pool.stats().accepted == 3
        assert sorted(one.index for one in found) == list(range(600))
        expected = [(-raw_score("q", text), n) for n, text in enumerate(documents)]
        assert [one.index for one in found] == [n for _, n in sorted(expected)]
        for one in found:
            assert one.document == documents[one.index]
            assert one.relevance_score == pytest.approx(raw_score("q", one.document))
            assert one.prompt_tokens == len(one.document) + 3
        assert ranked(pool, "q", documents, raw_scores=True, top_n=7) == found[:7]
        assert ranked(pool, "q", documents[:20], top_n=500) == ranked(pool, "q", documents[:20])
        assert ranked(pool, "q", []) == []


def test_scores_are_probabilities_unless_raw_ones_are_asked_for() -> None:
    for ranking, raw in (("logit", False), ("judge", False), ("probability", True)):
        with fake_pool(FakeEngine(ranking=ranking)) as pool:
            (shown,) = pool.rerank("q", ["dd"])
            (given,) = pool.rerank("q", ["dd"], raw_scores=True)
        assert given.relevance_score == pytest.approx(
            raw_score("q", "dd") if ranking != "judge" else given.relevance_score
        )
        if raw:
            assert shown == given
        else:
            assert 0 < shown.relevance_score < 1
            assert shown.relevance_score == pytest.approx(1 / (1 + 2.718281828459045**-given.relevance_score))


@pytest.mark.parametrize(
    ("query", "documents", "options", "field"),
    [
        ("", ["a"], {}, "query"),
        (5, ["a"], {}, "query"),
        ("x" * 70_000, ["a"], {}, "query"),
        ("q", "text", {}, "documents"),
        ("q", ["a", ""], {}, r"documents[1]"),
        ("q", ["a", 5], {}, r"documents[1]"),
        ("q", 5, {}, "documents"),
        ("q", ["a"] * 300 + [""], {}, "documents[300]"),
        ("q", ["a"], {"top_n": 0}, "top_n"),
        ("q", ["a"], {"truncate": 1}, "truncate"),
        ("q", [], {"top_n": 0}, "top_n"),
    ],
)
def test_bad_input_names_its_field(query: Any, documents: Any, options: Any, field: str) -> None:
    with ranker() as pool, pytest.raises(InvalidRequest) as caught:
        pool.rerank(query, documents, **options)
    assert caught.value.field == field


def test_an_unknown_option_of_rerank_is_named() -> None:
    options: dict[str, Any] = {"return_documents": True}
    with ranker() as pool:
        with pytest.raises(UnknownOption, match="every result has the text"):
            pool.rerank("q", ["a"], **options)
        with pytest.raises(TypeError, match="documents"):
            pool.rerank("q")  # type: ignore[call-arg]


def test_a_document_that_does_not_fit_is_refused_or_cut() -> None:
    engine = FakeEngine(ranking="logit")
    with Pool(executor=engine.executor(n_ctx=64)) as pool:
        with pytest.raises(InvalidRequest, match="truncate=True") as caught:
            pool.rerank("q", ["a", "b" * 100])
        assert caught.value.field == "documents[1]"
        cut = pool.rerank("q", ["a", "b" * 100], truncate=True, raw_scores=True)
        assert [one.prompt_tokens for one in cut] == [64, 4]
        assert cut[0].relevance_score == pytest.approx(raw_score("q", "b" * 61))
    assert not engine.leaks()


def test_one_deadline_holds_for_all_parts() -> None:
    with (
        fake_pool(FakeEngine(ranking="logit", step_delay=0.05)) as pool,
        pytest.raises(DeadlineExceeded, match="not ranked within"),
    ):
        pool.rerank("q", ["a" * 200] * 2000, timeout=0.2)


def test_equal_documents_keep_their_order_and_are_computed_once() -> None:
    engine = FakeEngine(ranking="logit")
    with fake_pool(engine) as pool:
        found = pool.rerank("q", ["b", "a", "b", "a", "b"])
        assert [one.index for one in found] == [0, 2, 4, 1, 3]
    assert (engine.steps, engine.max_rows) == (1, 8)


def test_what_an_executor_gives_is_looked_at() -> None:
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        for result, message in (
            ((DocumentScore(1.0),), "gave 1 scores for 2 documents"),
            ("text", "gave a str for a Rerank"),
        ):
            call = pool.submit(Rerank("q", ["a", "b"]))
            while not executor.jobs:
                pass
            executor.finish(next(iter(executor.jobs)), result)  # type: ignore[arg-type]
            with pytest.raises(EngineError, match=message):
                call.result()


def test_a_score_that_is_no_number_fails_its_call() -> None:
    with (
        fake_pool(FakeEngine(ranking="logit", nan_embeddings=True)) as pool,
        pytest.raises(EngineError, match="not finite"),
    ):
        pool.rerank("q", ["a", "b"])


def test_a_failed_step_costs_nobody_else_anything() -> None:
    """Documents of calls that live are computed again after a neighbour was cancelled in the middle of a step."""
    engine = FakeEngine(ranking="logit", step_delay=0.01)
    with fake_pool(engine, slots=8) as pool:
        calls = [
            pool.submit(Rerank(f"q{n}", [f"d{n}" * (5 + k) for k in range(40)], raw_scores=True))
            for n in range(8)
        ]
        for call in calls[::2]:
            call.cancel()
        for n, call in list(enumerate(calls))[1::2]:
            for one in call.result():
                assert one.relevance_score == pytest.approx(raw_score(f"q{n}", one.document))
    assert not engine.leaks()


def test_chats_embeds_and_rankings_share_lanes_without_crossing() -> None:
    engine = FakeEngine(ranking="judge", rerank_template="{query}|{document}")

    async def ask_all(pool: Pool) -> None:
        async def one(n: int) -> None:
            if n % 3 == 0:
                assert (await pool.achat(f"say {n}")).answer == f"say {n}"
            elif n % 3 == 1:
                texts = [f"{n} {k}" for k in range(9)]
                found = await pool.aembed(texts)
                assert [vector.prompt_tokens for vector in found] == list(map(len, texts))
            else:
                documents = [f"d{n}.{k}" for k in range(9)]
                ranking = await pool.arerank(f"q{n}", documents, raw_scores=True)
                expected = [sum(f"q{n}|{text}".encode()) / 1000 for text in documents]
                assert {one.index: one.relevance_score for one in ranking} == pytest.approx(
                    dict(enumerate(expected))
                )

        await asyncio.gather(*(one(n) for n in range(90)))

    with fake_pool(engine, workers=2, slots=3, max_queue=200) as pool:
        asyncio.run(ask_all(pool))
        assert pool.submit(Chat("x")).result().answer == "x"
    assert not engine.leaks()
