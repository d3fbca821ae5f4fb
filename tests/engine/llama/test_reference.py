"""What a pool says is what `llama_cpp.Llama` computes: greedy answers, and log probabilities to 1e-3.

Both without flash attention, with models of F32 weights.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy
import pytest
from busy_neighbours import GENERATING, JUDGE, busy, fills_a_gap
from gguf_models import Model as WrittenModel
from gguf_models import write_gpt2, write_llama

from poolinfer import Model, Pool, Raw, Response

WORDS = ("hello", "the", "other", "there", "he", "yes", "no", "42", "x = y;", "ß", "日本", "🙂", "\n", "...")
N_CASES, N_TOKENS = 60, 10
CLOSE = 1e-3


@dataclass(frozen=True)
class Expected:
    """What the reference says of one case: tokens of the answer, and log probabilities of all tokens."""

    answer: list[int]
    logprobs: list[float]
    #: How much likelier the first token was than the second, for each token of the answer.
    leads: list[float]


def prompts() -> list[str]:
    rng = random.Random(12)
    return [" ".join(rng.choices(WORDS, k=rng.randrange(2, 40))) for _ in range(N_CASES)]


def expected(llm: llama_cpp.Llama, prompt: str) -> Expected:
    tokens = llm.tokenize(prompt.encode(), special=False)
    n_prompt = len(tokens)
    llm.reset()
    llm.eval(tokens)
    leads = []
    for _ in range(N_TOKENS):
        row = llm.scores[len(tokens) - 1]
        second, first = numpy.argsort(row)[-2:]
        leads.append(float(row[first] - row[second]))
        tokens.append(int(first))
        if first == llm.token_eos():
            break
        llm.eval([int(first)])
    rows = llm.scores[: len(tokens) - 1].astype("f8")
    rows -= rows.max(axis=1, keepdims=True)
    rows -= numpy.log(numpy.exp(rows).sum(axis=1, keepdims=True))
    logprobs = [float(rows[i, token]) for i, token in enumerate(tokens[1:])]
    return Expected(tokens[n_prompt:], logprobs, leads)


def check(response: Response, wanted: Expected) -> int:
    """Compare one answer; the number of tokens that were compared."""
    found = [*response.prompt_logprobs[1:], *response.logprobs]
    n_prompt = len(response.prompt_logprobs) - 1
    for i, (token, logprob) in enumerate(zip(found, wanted.logprobs, strict=False)):
        if i >= n_prompt and token.token != wanted.answer[i - n_prompt]:
            # Two tokens that are equally likely but for rounding: what follows is another text.
            assert wanted.leads[i - n_prompt] < CLOSE
            return i
        assert abs(token.logprob - logprob) < CLOSE, (i, token, logprob)
        assert token.rank == 1 or i < n_prompt
    assert [token.token for token in response.logprobs] == wanted.answer
    return len(found)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model, and what the reference says of each prompt."""
    path: Path = tmp_path_factory.mktemp("reference") / f"{request.param}.gguf"
    if request.param == "llama":
        write_llama(path, vocabulary=WrittenModel.code, seed=5)
    else:
        write_gpt2(path, seed=5)
    llm = llama_cpp.Llama(
        str(path), n_ctx=512, logits_all=True, verbose=False, flash_attn=False, n_threads=1, n_threads_batch=1
    )
    found = [expected(llm, prompt) for prompt in prompts()]
    llm.close()
    return path, found


def case(prompt: str) -> Raw:
    return Raw(prompt, temperature=0, max_tokens=N_TOKENS, logprobs=True, prompt_logprobs=True)


def compared(pool: Pool, wanted: list[Expected]) -> int:
    responses = pool.map([case(prompt) for prompt in prompts()], window=1)
    return sum(check(response, one) for response, one in zip(responses, wanted, strict=True))


def test_answers_and_log_probabilities_are_those_of_llama_cpp(reference: Any) -> None:
    path, wanted = reference
    with Pool(str(path), slots=8, threads=1, flash_attention=False) as pool:
        n = compared(pool, wanted)
        assert n >= 0.99 * sum(len(one.logprobs) for one in wanted)
        # All of them at once, each beside seven others.
        responses = list(pool.map([case(prompt) for prompt in prompts()]))
    for response, one in zip(responses, wanted, strict=True):
        check(response, one)


def test_neighbours_with_other_features_change_nothing(reference: Any) -> None:
    path, wanted = reference
    more = [fills_a_gap] if path.stem == "llama" else []
    model = Model.load(path, reranker="judge", rerank_template=JUDGE)
    with Pool(model, slots=9, threads=1, flash_attention=False) as pool, busy(pool, [*GENERATING, *more]):
        assert compared(pool, wanted) >= 0.99 * sum(len(one.logprobs) for one in wanted)
        assert pool.stats().succeeded > N_CASES
