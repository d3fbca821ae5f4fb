"""What a pool says is what transformers computes with the same weights of F32.

Each model is generated, and written twice: as a GGUF file and as a transformers model. The pool keeps keys and
values in F32 and uses no flash attention. `pytest -s` shows the largest differences.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
import pytest
from busy_neighbours import EMBEDDING, GENERATING, JUDGE, RANKING, Ask, busy, calls_a_tool, fills_a_gap
from gguf_models import Model as WrittenModel
from gguf_models import write_bert, write_gpt2, write_llama
from gguf_rankers import RANKERS, RERANK, write_qwen3

from poolinfer import Model, Pool, Raw, Response

pytest.importorskip("torch", reason="nox -s conformance installs torch")

if TYPE_CHECKING:
    from transformers_twins import Twin

pytestmark = pytest.mark.timeout(300)

WORDS = ("hello", "the", "other", "there", "he", "yes", "no", "42", "x = y;", "cat", "here!")
QUERIES = ("the hello", "what is it? a cat", "9")
N_CASES, N_TOKENS, N_TEXTS = 60, 10, 60
CLOSE, SAME_DIRECTION = 1e-3, 0.9999
#: llama.cpp looks up the GELU of gpt2 in a table of 16-bit numbers, which rounds more.
CLOSE_WITH_GELU = 5e-3


class Causal(NamedTuple):
    """A model that generates, and what transformers says of it."""

    path: Path
    twin: Twin
    close: float
    neighbours: Sequence[Ask]


WRITERS: Mapping[str, Callable[..., Path]] = {
    "llama": partial(write_llama, vocabulary=WrittenModel.code, seed=5, context_length=2048),
    "llama-far": partial(write_llama, seed=6, context_length=2048, **{"rope.freq_base": 500_000.0}),
    "qwen3": partial(write_qwen3, seed=7, context_length=2048),
    "gpt2": partial(write_gpt2, seed=8),
}


def made(write: Callable[..., Path], path: Path) -> tuple[Path, Twin]:
    from transformers_twins import shake, twin

    shake(write(path))
    return path, twin(path)


@pytest.fixture(scope="module", params=WRITERS)
def causal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Causal:
    name = request.param
    path, twin = made(WRITERS[name], tmp_path_factory.mktemp("twins") / f"{name}.gguf")
    more = {"llama": [calls_a_tool, fills_a_gap], "gpt2": []}.get(name, [calls_a_tool])
    return Causal(path, twin, CLOSE_WITH_GELU if name == "gpt2" else CLOSE, [*GENERATING, *more])


@pytest.fixture(params=["alone", "busy"])
def pool(request: pytest.FixtureRequest, causal: Causal) -> Iterator[Pool]:
    """A pool with nobody else, or with seven neighbours that are never idle; one of them has two slots."""
    model = Model.load(causal.path, reranker="judge", rerank_template=JUDGE)
    with opened(model, slots=9) as pool:
        if request.param == "alone":
            yield pool
        else:
            with busy(pool, causal.neighbours):
                yield pool


def opened(model: Model, slots: int = 8) -> Pool:
    return Pool(model, slots=slots, threads=1, flash_attention=False, type_k="f32", type_v="f32")


def texts(n: int, seed: int, most: int = 40) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randrange(1, most))) for _ in range(n)]


def cosine(a: Any, b: Any) -> float:
    return float(numpy.dot(a, b) / numpy.linalg.norm(a) / numpy.linalg.norm(b))


def difference(response: Response, causal: Causal, ends: set[int]) -> float:
    """The largest difference of one answer's log-probabilities; fails where a token is not the likeliest one.

    The whole text is computed at once: the answer is the greedy one if each of its tokens is the likeliest after
    those before it.
    """
    n_prompt = len(response.prompt_logprobs)
    said = [*response.prompt_logprobs, *response.logprobs]
    rows = causal.twin.logprobs([token.token for token in said])
    largest = 0.0
    for i, token in enumerate(said[1:]):
        largest = max(largest, abs(rows[i, token.token] - token.logprob))
        if i + 1 >= n_prompt:
            # Two tokens may be equally likely but for rounding.
            assert rows[i, token.token] > rows[i].max() - 2 * causal.close, (i, token)
    ended = response.logprobs[-1].token in ends
    assert len(response.logprobs) == N_TOKENS or ended
    return largest


def case(prompt: str) -> Raw:
    return Raw(prompt, temperature=0, max_tokens=N_TOKENS, logprobs=True, prompt_logprobs=True)


def test_answers_and_log_probabilities_are_those_of_transformers(causal: Causal, pool: Pool) -> None:
    ends = set(pool.tokenize("<|im_end|><|endoftext|>", parse_special=True, add_special=False))
    prompts = texts(N_CASES, seed=12)
    responses = pool.map([case(prompt) for prompt in prompts], window=1)
    found = [difference(response, causal, ends) for response in responses]
    assert len(found) == N_CASES
    print(f"log-probabilities of {len(found)} answers differ by at most {max(found):.1e}")
    assert max(found) < causal.close


def test_vectors_of_a_model_that_generates_are_those_of_transformers(causal: Causal, pool: Pool) -> None:
    given = texts(N_TEXTS, seed=13)
    lowest = 1.0
    for pooling in ("mean", "last"):
        for text, vector in zip(given, pool.embed(given, pooling=pooling), strict=True):
            rows = causal.twin.vectors(pool.tokenize(text))
            wanted = rows.mean(axis=0) if pooling == "mean" else rows[-1]
            lowest = min(lowest, cosine(wanted, vector.vector))
    print(f"the cosine of {2 * N_TEXTS} vectors is at least {lowest:.7f}")
    assert lowest > SAME_DIRECTION


def test_scores_of_a_judge_are_those_of_transformers(causal: Causal, pool: Pool) -> None:
    documents = texts(N_TEXTS, seed=14)
    yes, no = (pool.tokenize(word, add_special=False)[0] for word in ("yes", "no"))
    largest = 0.0
    for ranked in pool.rerank("the cat", documents, raw_scores=True):
        filled = JUDGE.replace("{query}", "the cat").replace("{document}", documents[ranked.index])
        row = causal.twin.logprobs(pool.tokenize(filled, parse_special=True))[-1]
        largest = max(largest, abs(row[yes] - row[no] - ranked.relevance_score))
    print(f"{N_TEXTS} scores differ by at most {largest:.1e}")
    assert largest < causal.close


@pytest.mark.parametrize("neighbours", [0, 7])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_of_an_encoder_are_those_of_transformers(
    tmp_path: Path, pooling: str, neighbours: int
) -> None:
    path, twin = made(partial(write_bert, pooling=1 + (pooling == "cls")), tmp_path / "model.gguf")
    given, lowest = texts(2 * N_TEXTS, seed=15), 1.0
    with opened(Model.load(path)) as pool, busy(pool, EMBEDDING, neighbours):
        for text, vector in zip(given, pool.embed(given), strict=True):
            rows = twin.vectors(pool.tokenize(text))
            wanted = rows.mean(axis=0) if pooling == "mean" else rows[0]
            lowest = min(lowest, cosine(wanted, vector.vector))
    print(f"the cosine of {len(given)} vectors is at least {lowest:.7f}")
    assert lowest > SAME_DIRECTION


@pytest.mark.parametrize("neighbours", [0, 7])
@pytest.mark.parametrize("kind", RANKERS)
def test_scores_of_a_head_are_those_of_transformers(tmp_path: Path, kind: str, neighbours: int) -> None:
    path, twin = made(RANKERS[kind], tmp_path / "model.gguf")
    documents, largest = texts(N_TEXTS, seed=16), 0.0
    with opened(Model.load(path)) as pool, busy(pool, RANKING, neighbours):
        for query in QUERIES:
            for ranked in pool.rerank(query, documents, raw_scores=True):
                wanted = score(twin, pool, kind, query, documents[ranked.index])
                largest = max(largest, abs(wanted - ranked.relevance_score))
    print(f"{len(QUERIES) * N_TEXTS} scores differ by at most {largest:.1e}")
    assert largest < CLOSE


def score(twin: Twin, pool: Pool, kind: str, query: str, document: str) -> float:
    if kind == "bert":
        # As llama.cpp's server pairs them. A tokenizer of BERT would add a last [SEP], and mark the second text.
        return float(twin.scores([*pool.tokenize(query), *pool.tokenize(document)[1:-1]])[0])
    filled = RERANK.replace("{query}", query).replace("{document}", document)
    yes, no = twin.scores(pool.tokenize(filled, parse_special=True))
    return float(1 / (1 + numpy.exp(no - yes)))
