"""Log probabilities of prompts: each token has one, whatever is resident, and however a lane cuts the prompt."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf_models import Model as WrittenModel
from gguf_models import write_llama

from poolinfer import Chat, EngineError, InvalidRequest, Model, Pool, Raw, TokenLogprob
from poolinfer.testing import FakeEngine, fake_pool

LONG = "the quick brown fox jumps over the lazy dog. " * 12


def pieces(tokens: tuple[TokenLogprob, ...]) -> bytes:
    return b"".join(token.piece for token in tokens)


def close(one: tuple[TokenLogprob, ...], other: tuple[TokenLogprob, ...]) -> bool:
    """Whether both say the same, but for rounding: rows computed together differ from rows computed alone."""
    same = [token.token for token in one] == [token.token for token in other]
    pairs = zip(one, other, strict=True)
    return same and all(math.isclose(a.logprob, b.logprob, abs_tol=2e-3, rel_tol=2e-3) for a, b in pairs)


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose vocabulary is SentencePiece's."""
    path = tmp_path_factory.mktemp("scoring") / "spelled.gguf"
    return write_llama(path, vocabulary=WrittenModel.sentencepiece, seed=3)


# With scripted engines, which refuse more outputs of a decode than a context has room for.


@pytest.mark.parametrize("block_size", [None, 16], ids=["rectangles", "blocks"])
@pytest.mark.parametrize("slots", [1, 2, 8])
def test_every_token_of_many_prompts_is_scored_beside_others(slots: int, block_size: int | None) -> None:
    engine = FakeEngine(tokens=5, block_size=block_size)
    texts = [f"{n} {LONG}"[: 40 + 37 * n] for n in range(12)]
    with fake_pool(engine, slots=slots) as pool:
        requests = [Raw(text, max_tokens=n % 3, prompt_logprobs=True) for n, text in enumerate(texts)]
        others = [pool.submit(Raw(LONG[n:], max_tokens=30)) for n in range(6)]
        responses = list(pool.map(requests))
        assert [call.result(30).text for call in others] == [(LONG[n:] * 2)[:5] for n in range(6)]
    for n, (text, response) in enumerate(zip(texts, responses, strict=True)):
        assert pieces(response.prompt_logprobs) == text.encode()
        assert response.prompt_logprobs[0] == TokenLogprob(ord(text[0]), text[0], 0.0)
        assert all(token.rank == 1 for token in response.prompt_logprobs[1:])
        assert response.usage.completion_tokens == n % 3
        assert response.text == text[: n % 3]
    assert not engine.leaks()


def test_a_prompt_that_is_only_read_ends_with_its_length() -> None:
    with fake_pool(FakeEngine()) as pool:
        response = pool.raw("hello", max_tokens=0, prompt_logprobs=True)
        assert (response.text, response.finish_reason, response.usage.completion_tokens) == ("", "length", 0)
        assert pool._lifecycle._executor.stats().completion_tokens == 0


def test_what_stands_before_the_start_is_reused_and_what_is_scored_is_not() -> None:
    with fake_pool(FakeEngine()) as pool:
        before = pool.score("one", LONG)
        assert pieces(before.tokens) == b"one"
        again = Raw(LONG + "two", max_tokens=0, prompt_logprobs=True, prompt_logprobs_start=len(LONG))
        response = pool.submit(again).result(10)
        assert response.usage.cached_tokens == len(LONG) - 1
        assert pieces(response.score.tokens) == b"two"
        whole = pool.raw(LONG + "two", max_tokens=0, prompt_logprobs=True)
        assert whole.usage.cached_tokens == 0
        assert pieces(whole.prompt_logprobs) == (LONG + "two").encode()


def test_a_step_that_fails_costs_no_other_call_and_the_next_score_is_whole() -> None:
    with fake_pool(FakeEngine(raise_after=2)) as pool:
        with pytest.raises(EngineError):
            pool.score(LONG * 3)
        assert pieces(pool.score("x" + LONG).tokens) == LONG.encode()


def test_several_answers_have_the_log_probabilities_of_their_one_prompt() -> None:
    with fake_pool(FakeEngine()) as pool:
        response = pool.raw(LONG, n=3, max_tokens=2, prompt_logprobs=True)
    assert {choice.prompt_logprobs for choice in response.choices} == {response.prompt_logprobs}
    assert pieces(response.prompt_logprobs) == LONG.encode()


# Echo.


def test_echo_puts_the_prompt_before_the_answer() -> None:
    with fake_pool(FakeEngine()) as pool:
        call = pool.submit(Raw("hello there", echo=True, max_tokens=3, logprobs=True))
        chunks = list(call)
        response = call.result(10)
        assert response.text == response.answer == "hello there" + "hel"
        assert "".join(chunk.text for chunk in chunks) == response.text
        assert pieces(response.logprobs) == response.text.encode()
        assert sum((chunk.logprobs for chunk in chunks), ()) == response.logprobs
        assert response.prompt_logprobs == ()
        assert response.usage.completion_tokens == 3


def test_echo_alone_computes_no_log_probabilities() -> None:
    with fake_pool(FakeEngine()) as pool:
        response = pool.raw("hello there", echo=True, max_tokens=0)
        assert (response.text, response.logprobs, response.finish_reason) == ("hello there", (), "length")
        # As OpenAI's completions score a text: echo, no tokens, logprobs.
        scored = pool.raw("hello there", echo=True, max_tokens=0, logprobs=True, top_logprobs=2)
        assert pieces(scored.logprobs) == b"hello there"
        assert [len(token.top) for token in scored.logprobs] == [0] + [2] * 10


def test_a_stop_text_in_the_prompt_ends_nothing() -> None:
    with fake_pool(FakeEngine()) as pool:
        response = pool.raw("ab stop", echo=True, stop="stop", temperature=0)
    assert (response.text, response.finish_reason) == ("ab stop" + "ab ", "stop")


# Scores.


def test_score_says_what_lm_evaluation_needs(tiny: Model) -> None:
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    with Pool(tiny, slots=4, threads=1) as pool:
        scores = {
            city: pool.score(
                f"The capital of France is {city}.", question, parse_special=True, top_logprobs=1
            )
            for city in ("Paris", "Rome", "Berlin")
        }
        said = pool.chat("What is the capital of France?", temperature=0, logprobs=True)
    assert max(scores, key=lambda city: scores[city].logprob) == "Paris"
    right = scores["Paris"]
    assert right.is_greedy
    assert not scores["Rome"].is_greedy
    assert said.text == "The capital of France is Paris."
    assert close(right.tokens, said.logprobs[:-1])
    assert right.logprob == pytest.approx(sum(token.logprob for token in right.tokens))
    assert right.perplexity == pytest.approx(math.exp(-right.logprob / len(right.tokens)))
    assert all(token.top[0][0] == token.token for token in right.tokens)


@pytest.mark.parametrize("start", [1, 7, 31, 100, len(LONG) - 1])
def test_a_part_scores_as_it_does_in_the_whole(tiny: Model, start: int) -> None:
    with Pool(tiny, slots=4, threads=1, n_batch=64) as pool:
        whole = pool.raw(LONG, max_tokens=0, prompt_logprobs=True).prompt_logprobs
        part = pool.score(LONG[start:], LONG[:start]).tokens
    assert close(part, whole[-len(part) :])
    # The token at the seam may have a part of the prompt; no other one does.
    assert pieces(part).endswith(LONG[start:].encode())
    assert len(pieces(part[1:])) < len(LONG) - start


def test_nothing_that_is_scored_changes_the_bits_of_a_lane_with_one_slot(tiny: Model) -> None:
    request = Raw(LONG, max_tokens=12, temperature=0, logprobs=True)
    with Pool(tiny, slots=1, threads=1, n_batch=32) as pool:
        alone = pool.submit(request).result(30)
    with Pool(tiny, slots=1, threads=1, n_batch=32) as pool:
        first = pool.score(LONG[200:], LONG[:200])
        after = pool.submit(request).result(30)
        again = pool.score(LONG[200:], LONG[:200])
        whole = pool.raw(LONG, max_tokens=0, prompt_logprobs=True)
        once_more = pool.submit(request).result(30)
    assert (
        (after.text, after.logprobs) == (alone.text, alone.logprobs) == (once_more.text, once_more.logprobs)
    )
    assert again == first
    assert close(first.tokens, whole.prompt_logprobs[-len(first.tokens) :])


def test_calls_that_give_their_memory_up_are_scored_to_the_end(tiny: Model) -> None:
    texts = [f"{n}. {LONG}"[:350] for n in range(8)]
    with Pool(tiny, slots=4, threads=1) as pool:
        alone = [pool.raw(text, prompt_logprobs=True, max_tokens=40, temperature=0) for text in texts]
    kv_memory = 2 * 512 * tiny.kv_bytes_per_token
    with Pool(tiny, slots=4, threads=1, kv_memory=kv_memory) as pool:
        requests = [Raw(text, prompt_logprobs=True, max_tokens=40, temperature=0) for text in texts]
        together = list(pool.map(requests))
    for one, other in zip(alone, together, strict=True):
        assert close(one.prompt_logprobs, other.prompt_logprobs)


# Bytes.


def test_bytes_of_tokens_are_what_they_add_to_the_text(spelled: Path) -> None:
    text = "hello\nthe \u00df \U0001f642!"
    with Pool(str(spelled), slots=2, threads=1) as pool:
        found = pool.raw(text, max_tokens=0, prompt_logprobs=True, top_logprobs=20).prompt_logprobs
    # SentencePiece puts a space before a text; <s> adds nothing, and is shown as it is spelled.
    assert pieces(found) == b" " + text.encode()
    assert (found[0].text, found[0].piece) == ("<s>", b"")
    line_end = next(token for token in found if token.piece == b"\n")
    assert line_end.text == "\n"
    assert [token.text for token in found if token.piece == b"\xc3"] == ["\ufffd"]
    for token in found[1:]:
        shown = dict(token.raw)
        for number, spelling, _ in token.top:
            assert (
                shown.get(number, spelling.encode()) == spelling.encode()
                or "\ufffd" in spelling
                or not shown[number]
            )


def test_openai_s_form_has_bytes_for_control_tokens(tiny: Model) -> None:
    with Pool(tiny, slots=1, threads=1) as pool:
        reply = pool.chat("What is 2 plus 3?", temperature=0, logprobs=True)
    content: list[dict[str, Any]] = reply.to_openai()["choices"][0]["logprobs"]["content"]
    assert (content[-1]["token"], content[-1]["bytes"]) == ("<|im_end|>", [])
    assert b"".join(bytes(token["bytes"]) for token in content).decode() == reply.text


# What is refused.


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Raw("x", max_tokens=0), "max_tokens"),
        (Chat("x", max_tokens=0), "max_tokens"),
        (Raw("x", prompt_logprobs=True, prompt_logprobs_start=1), "prompt_logprobs_start"),
        (Raw("xy", echo=True, logprobs=True, prompt_logprobs_start=1), "prompt_logprobs_start"),
        (Raw("x", suffix="y", echo=True), "echo"),
        (Raw("x", suffix="y", prompt_logprobs=True), "prompt_logprobs"),
        (Raw("x", n=129), "n"),
        (Raw("x", n=0), "n"),
        (Raw(""), "prompt"),
    ],
    ids=str,
)
def test_bad_combinations_are_refused_by_name(request_: Raw | Chat, field: str) -> None:
    with fake_pool(FakeEngine()) as pool, pytest.raises(InvalidRequest) as caught:
        pool.submit(request_)
    assert caught.value.field == field


def test_score_of_nothing_is_refused() -> None:
    with fake_pool(FakeEngine()) as pool:
        for text, prompt, field in (("", "x", "text"), (3, "x", "text"), ("x", None, "prompt")):
            with pytest.raises(InvalidRequest) as caught:
                pool.score(text, prompt)  # type: ignore[arg-type]
            assert caught.value.field == field


def test_ascore(run_async: Callable[..., Any]) -> None:
    async def main() -> None:
        async with fake_pool(FakeEngine()) as pool:
            assert pieces((await pool.ascore("there", "hello ")).tokens) == b"there"

    run_async(main)
