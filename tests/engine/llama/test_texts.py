"""Scores and vectors are what llama.cpp itself computes, also in batches and beside neighbours of other kinds."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api
import numpy
import pytest
from gguf_models import write_bert, write_llama
from gguf_rankers import RANKERS, write_qwen3
from reference_texts import reference

from poolinfer import Chat, Embed, InvalidRequest, Model, ModelError, Pool, RankedDocument, Rerank

WORDS = ["the", "hello", "of", "a", "cat", "and", "some", "9", "things,", "not", "here!", "yes", "no"]
QUERIES = ("the hello", "what is it? a cat", "9")


def texts(n: int, seed: int = 0) -> list[str]:
    """Texts of one to forty words."""
    random_ = random.Random(seed)
    return [" ".join(random_.choices(WORDS, k=random_.randint(1, 40))) for _ in range(n)]


def scores_of(ranked: list[RankedDocument]) -> list[float]:
    """The scores in the order of the documents."""
    return [found.relevance_score for found in sorted(ranked, key=lambda found: found.index)]


@pytest.mark.parametrize("kind", RANKERS)
def test_scores_of_a_head_are_llama_cpp_s(tmp_path: Path, kind: str) -> None:
    """Acceptance 5: to 1e-3, one at a time and in batches."""
    path = RANKERS[kind](tmp_path / "model.gguf")
    documents = texts(60)
    with reference(path, api.LLAMA_POOLING_TYPE_RANK) as own:
        expected = {q: [float(own.computed(own.pair(q, d))[0]) for d in documents] for q in QUERIES}
    for slots in (1, 4):
        with Pool(Model.load(path), slots=slots, threads=1, n_ctx=256) as pool:
            calls = [pool.submit(Rerank(query, documents, raw_scores=True)) for query in QUERIES]
            for query, call in zip(QUERIES, calls, strict=True):
                ranked = call.result()
                assert numpy.allclose(scores_of(ranked), expected[query], atol=1e-3)
                assert [one.document for one in ranked] == [documents[one.index] for one in ranked]
                shown = scores_of(pool.rerank(query, documents))
                wanted = expected[query]
                if kind == "bert":
                    wanted = [1 / (1 + math.exp(-value)) for value in wanted]
                assert numpy.allclose(shown, wanted, atol=1e-3)


def test_a_judge_s_score_is_the_softmax_of_its_yes_and_no(tmp_path: Path) -> None:
    """Acceptance 5, with seven neighbours that chat and embed."""
    path = write_llama(tmp_path / "model.gguf")
    template = "<|im_start|>user\nIs {document} about {query}?<|im_end|>\n<|im_start|>assistant\n"
    model = Model.load(path, reranker="judge", rerank_template=template)
    documents = texts(60, seed=1)
    with reference(path, None) as own:
        yes, no = own.tokens("yes")[0], own.tokens("no")[0]
        prompts = [template.replace("{query}", "the cat").replace("{document}", text) for text in documents]
        rows = [own.computed(own.tokens(prompt, special=True)) for prompt in prompts]
    expected = [1 / (1 + math.exp(row[no] - row[yes])) for row in rows]
    with Pool(model, slots=8, threads=1, flash_attention=False) as pool:
        neighbours: list[Any] = [pool.submit(Chat(f"Count to {n}.", max_tokens=40)) for n in range(6)]
        neighbours.append(pool.submit(Embed(documents)))
        assert numpy.allclose(scores_of(pool.rerank("the cat", documents)), expected, atol=1e-3)
        raw = scores_of(pool.rerank("the cat", documents, raw_scores=True))
        assert numpy.allclose(raw, [row[yes] - row[no] for row in rows], atol=1e-3)
        for call in neighbours:
            call.result()


@pytest.mark.parametrize(
    ("write", "pooling", "options"),
    [
        (lambda path: write_bert(path, pooling=1), api.LLAMA_POOLING_TYPE_MEAN, {}),
        (lambda path: write_bert(path, pooling=2), api.LLAMA_POOLING_TYPE_CLS, {}),
        (write_llama, api.LLAMA_POOLING_TYPE_LAST, {"pooling": "last"}),
        (write_qwen3, api.LLAMA_POOLING_TYPE_MEAN, {}),
    ],
    ids=["bert-mean", "bert-cls", "llama-last", "qwen3-mean"],
)
def test_vectors_are_llama_cpp_s(tmp_path: Path, write: Any, pooling: int, options: dict[str, Any]) -> None:
    """Acceptance 5: to a cosine of 0.9999, whole and cut."""
    path = write(tmp_path / "model.gguf")
    given = texts(60, seed=2)
    with reference(path, pooling) as own:
        expected = [own.computed(own.tokens(text, around=True)) for text in given]
    with Pool(Model.load(path), slots=4, threads=1, n_ctx=256) as pool:
        whole, cut = pool.embed(given, **options), pool.embed(given, dimensions=16, **options)
    for wanted, vector, short in zip(expected, whole, cut, strict=True):
        assert cosine(wanted, vector.vector) > 0.9999
        assert short.dimensions == 16
        assert cosine(wanted[:16], short.vector) > 0.9999
        assert abs(short.norm() - 1) < 1e-6


def cosine(a: Any, b: Any) -> float:
    """The cosine of the angle between two vectors."""
    return float(numpy.dot(a, b) / numpy.linalg.norm(a) / numpy.linalg.norm(b))


def test_passages_are_pooled_of_the_whole_text_s_token_vectors(tmp_path: Path) -> None:
    """Late chunking: each passage's vector is the mean of its tokens' vectors in the whole text."""
    path = write_bert(tmp_path / "model.gguf")
    passages = texts(5, seed=3)
    with reference(path, api.LLAMA_POOLING_TYPE_NONE) as own:
        parts = [own.tokens(passage) for passage in passages]
        around = own.tokens("", around=True)
        tokens = [around[0], *(token for part in parts for token in part), around[1]]
        rows = own.computed(tokens)
    lengths = [len(part) for part in parts]
    lengths[0] += 1
    lengths[-1] += 1
    ends = numpy.cumsum(lengths)
    with Pool(Model.load(path), slots=2, threads=1) as pool:
        found = pool.embed(passages, late_chunking=True)
        apart = pool.embed(passages)
    assert [vector.prompt_tokens for vector in found] == lengths
    for vector, own_vector, end, length in zip(found, apart, ends, lengths, strict=True):
        assert cosine(rows[end - length : end].mean(axis=0), vector.vector) > 0.9999
        assert cosine(vector.vector, own_vector.vector) < 0.9999


def test_a_ranker_does_nothing_else_and_others_do_not_rank(tmp_path: Path) -> None:
    model = Model.load(RANKERS["qwen3"](tmp_path / "model.gguf"))
    with Pool(model, threads=1) as pool:
        with pytest.raises(InvalidRequest, match="only ranks; use rerank") as caught:
            pool.embed("a")
        assert caught.value.field == "input"
        with pytest.raises(InvalidRequest, match="only ranks; use rerank"):
            pool.chat("a")
    other = Model.load(write_qwen3(tmp_path / "other.gguf"))
    with Pool(other, threads=1) as pool, pytest.raises(InvalidRequest, match="reranker='judge'") as caught:
        pool.rerank("a", ["b"])
    assert caught.value.field == "query"


def test_a_ranker_without_a_head_is_refused(tmp_path: Path) -> None:
    """Before, llama.cpp would have read the numbers of one document as those of another."""
    with pytest.raises(ModelError, match="no classifier head"):
        Model.load(write_bert(tmp_path / "model.gguf", pooling=4))


def test_the_name_of_a_model_that_generates_says_that_it_is_a_judge(tmp_path: Path) -> None:
    path = write_qwen3(tmp_path / "model.gguf", **{"general.name": "Some Reranker 0.6B"})
    with Model.load(path) as model:
        assert (model.info.ranking, model.info.generates) == ("judge", True)
        assert len(model.rerank("hello", ["the hello", "9"])) == 2
