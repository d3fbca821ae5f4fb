"""Tokens asked about: texts, ids and messages, on every executor, and without a turn in a lane."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from poolinfer import (
    ApplyTemplate,
    CallCancelled,
    Detokenize,
    InvalidRequest,
    Model,
    Pool,
    Prompt,
    Tokenize,
    demo_model,
)
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "héllo <|im_end|>"}]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_tokens_of_a_real_model(executor: str) -> None:
    with Pool(Model.load(demo_model()), executor=executor, workers=1, slots=2, threads=1) as pool:
        text = "The capital of France is 7 \U0001f642."
        tokens = pool.tokenize(text)
        assert pool.detokenize(tokens) == text
        assert pool.count_tokens(text) == len(tokens) == pool.raw(text, max_tokens=1).usage.prompt_tokens
        spaced = "Wait ... why ? I do n't , he 's !"
        assert pool.detokenize(pool.tokenize(spaced)) == spaced
        applied = pool.apply_template(MESSAGES)
        assert applied.text.endswith("<|im_start|>assistant\n")
        assert pool.count_tokens(MESSAGES) == len(applied.tokens)
        assert pool.chat(MESSAGES, max_tokens=1).usage.prompt_tokens == len(applied.tokens)
        assert pool.detokenize(applied.tokens, special=True) == applied.text
        assert "<|im_start|>" not in pool.detokenize(applied.tokens)
        # F-48: what a user spells is no control token, unless the caller says so.
        end = pool.tokenize("<|im_end|>", parse_special=True)
        assert len(end) == 1
        assert pool.tokenize("<|im_end|>") != end
        assert applied.tokens.count(end[0]) == 2
        assert (
            pool.apply_template(MESSAGES, add_generation_prompt=False).text + "<|im_start|>assistant\n"
            == applied.text
        )


def test_tokens_of_a_model_s_own_pool(tiny: Model) -> None:
    with Model.load(demo_model()) as model:
        assert model.detokenize(model.tokenize("abc")) == "abc"
        assert model.count_tokens(Prompt.user("hi")) == len(model.apply_template(Prompt.user("hi")).tokens)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_twins_do_the_same(backend: str) -> None:
    with fake_pool() as pool:
        for name, argument in (
            ("tokenize", "hé"),
            ("detokenize", [104, 105]),
            ("count_tokens", MESSAGES),
            ("apply_template", "x"),
        ):
            found = anyio.run(getattr(pool, f"a{name}"), argument, backend=backend)
            assert found == getattr(pool, name)(argument)


def test_what_tokens_stand_for() -> None:
    with fake_pool() as pool:
        assert pool.tokenize("") == []
        assert pool.detokenize([]) == ""
        assert pool.detokenize([0xC3]) == "\ufffd"
        assert pool.detokenize([104, 256, 105], special=True) == "h<|im_start|>i"
        assert pool.detokenize([104, 256, 105]) == "hi"
        assert pool.apply_template("x").tokens == tuple(
            pool.tokenize(pool.apply_template("x").text, parse_special=True)
        )
        answered = [*MESSAGES, {"role": "assistant", "content": "yes"}]
        assert pool.apply_template(answered, add_generation_prompt=False).text.endswith("yes<|im_end|>\n")
        assert pool.apply_template(answered, continue_final_message=True).text.endswith("yes")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (partial(Tokenize, 5), "text"),
        (partial(Tokenize, "\ud800"), "text"),
        (partial(Tokenize, "x" * 5_000_000), "text"),
        (partial(Tokenize, "x", add_special=1), "add_special"),
        (partial(Detokenize, "abc"), "tokens"),
        (partial(Detokenize, [1, -1]), "tokens[1]"),
        (partial(Detokenize, [1, 1.5]), "tokens[1]"),
        (partial(Detokenize, [True]), "tokens[0]"),
        (partial(Detokenize, [5, 320]), "tokens[1]"),
        (partial(Detokenize, [0] * 2_000_000), "tokens"),
        (partial(ApplyTemplate, []), "messages"),
        (partial(ApplyTemplate, [{"role": "assistant", "content": "x"}]), "messages[0].role"),
    ],
)
def test_bad_input_names_its_field(make: Any, field: str) -> None:
    with fake_pool() as pool, pytest.raises(InvalidRequest) as caught:
        pool.submit(make()).result()
    assert caught.value.field == field


def test_a_model_without_a_template_says_so() -> None:
    with fake_pool(FakeEngine(chat_template=None)) as pool:
        with pytest.raises(InvalidRequest, match="no chat template"):
            pool.apply_template("x")
        assert pool.count_tokens("x") == 1


def test_a_call_about_tokens_ends_like_any_other() -> None:
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.submit(Tokenize("x"))
        call.cancel()
        with pytest.raises(CallCancelled):
            call.result()
    with Pool(executor=FakeExecutor()) as pool:
        assert pool.tokenize("hé") == [104, 195, 169]
        assert pool.detokenize([104]) == "h"
        assert pool.apply_template("hi").text == "hi"
        assert pool.rerank("a b", ["c", "a b"], top_n=1)[0].document == "a b"
