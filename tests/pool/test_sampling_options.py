"""Sampling options from a call to the sampler, and the defaults that a model's file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf_models import write_llama

from poolinfer import ContextOverflow, InvalidRequest, Model, Pool, Raw, Sampling
from poolinfer._engine.lane.preparation import _bias
from poolinfer.testing import FakeEngine

OPTIONS: dict[str, Any] = {
    "seed": 5,
    "max_tokens": 12,
    "temperature": 1.3,
    "typical_p": 0.9,
    "xtc_probability": 0.5,
    "top_n_sigma": 2.0,
    "dry_multiplier": 0.8,
    "dry_sequence_breakers": ["e"],
    "dynatemp_range": 0.3,
    "repeat_last_n": -1,
    "repeat_penalty": 1.1,
    "min_tokens": 3,
    "logit_bias": {"e": 1.5, "7": 2.0, 9: -3.0},
}


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("model") / "random.gguf")


@pytest.mark.parametrize("executor", ["process", "prefork"])
def test_options_mean_the_same_with_every_executor(random_model: Path, executor: Any) -> None:
    texts = []
    for name in ("thread", executor):
        with Pool(random_model, executor=name, slots=1, threads=1, n_ctx=64) as pool:
            texts.append(pool.raw("hello the", **OPTIONS).text)
    assert texts[0] == texts[1] != ""


def test_a_models_own_defaults_are_those_of_calls_that_say_nothing(tmp_path: Path) -> None:
    keys = {
        "temp": 0.25,
        "top_k": 3,
        "top_p": 0.5,
        "penalty_last_n": 7,
        "penalty_repeat": 1.25,
        "mirostat": 0,
    }
    own: dict[str, Any] = {f"general.sampling.{key}": value for key, value in keys.items()}
    plain = Model.load(write_llama(tmp_path / "plain.gguf"))
    tuned = Model.load(write_llama(tmp_path / "tuned.gguf", **own))
    assert plain.info.sampling == Sampling()
    expected = Sampling(temperature=0.25, top_k=3, top_p=0.5, repeat_last_n=7, repeat_penalty=1.25)
    assert tuned.info.sampling == expected
    request = Raw("hello the", seed=3, max_tokens=16)
    given: dict[str, Any] = {"temperature": 0.25, "top_k": 3, "top_p": 0.5, "repeat_penalty": 1.25}
    back: dict[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repeat_penalty": 1.0}
    with (
        Pool(plain, slots=1, threads=1, n_ctx=64) as with_plain,
        Pool(tuned, slots=1, threads=1, n_ctx=64) as with_tuned,
    ):
        asked = with_plain.raw("hello the", seed=3, max_tokens=16, repeat_last_n=7, **given)
        assert with_tuned.submit(request).result().text == asked.text
        undone = with_tuned.raw("hello the", seed=3, max_tokens=16, repeat_last_n=64, **back)
        assert with_plain.submit(request).result().text == undone.text != asked.text


@pytest.mark.parametrize(
    ("key", "value", "option", "used"),
    [
        ("temp", -1.0, "temperature", 0.0),
        ("temp", 50.0, "temperature", 10.0),
        ("temp", float("nan"), "temperature", 0.8),
        ("temp", "hot", "temperature", 0.8),
        ("temp", True, "temperature", 0.8),
        ("temp", 1, "temperature", 1.0),
        ("top_k", 2**31, "top_k", 1_000_000),
        ("top_k", 7.0, "top_k", 7),
        ("xtc_threshold", 1.0, "xtc_threshold", 0.5),
        ("top_p", 0.1, "top_p", 0.1),
    ],
)
def test_odd_defaults_of_a_file_become_what_is_allowed(
    tmp_path: Path, key: str, value: Any, option: str, used: float
) -> None:
    odd: dict[str, Any] = {f"general.sampling.{key}": value}
    found = getattr(Model.load(write_llama(tmp_path / "odd.gguf", **odd)).info.sampling, option)
    assert found == used
    assert type(found) is type(used)


def test_a_text_in_logit_bias_stands_for_all_of_its_tokens(tiny: Model) -> None:
    with Pool(tiny, slots=2, threads=1) as pool:
        plain = pool.chat("What is the capital of Peru?", temperature=0, logprobs=True)
        words = [entry.text for entry in plain.logprobs if entry.text.isalpha()]
        bias = dict.fromkeys(words, -100.0)
        other = pool.chat("What is the capital of Peru?", temperature=0, logit_bias=bias)
        assert words
        assert not any(word in other.answer for word in words)
        with pytest.raises(InvalidRequest, match="logit_bias key 50000"):
            pool.chat("Hi", logit_bias={50000: 1.0, "e": 1.0})


def test_numbers_for_one_token_are_added_up() -> None:
    """As llama.cpp's server does, whose texts stand for all of their tokens, too."""
    assert _bias({"ab": 1.0, "b": 2.0, 97: 3.0}, FakeEngine()) == {97: 4.0, 98: 3.0}


class ManyTokens(FakeEngine):
    """A vocabulary in which each text has tokens of its own."""

    def tokenize(self, text: str, **_: bool) -> list[int]:
        return [1000 * ord(text[0]) + n for n in range(len(text) - 1)]


def test_texts_in_logit_bias_are_bounded_by_their_tokens() -> None:
    _bias({"a" * 200: 1.0, "b" * 200: 1.0}, ManyTokens())
    with pytest.raises(InvalidRequest, match="logit_bias has 1,194 items"):
        _bias({letter * 200: 1.0 for letter in "abcdef"}, ManyTokens())
    with pytest.raises(InvalidRequest, match="logit_bias is 'a': leave out the text, which has no tokens"):
        _bias({"a": 1.0}, ManyTokens())


def test_min_tokens_bars_the_end_and_no_stop_text(tiny: Model) -> None:
    with Pool(tiny, slots=2, threads=1) as pool:
        short = pool.chat("What is 1 plus 1?", temperature=0)
        longer = pool.chat("What is 1 plus 1?", temperature=0, min_tokens=short.usage.completion_tokens + 5)
        assert longer.usage.completion_tokens >= short.usage.completion_tokens + 5
        endless = pool.chat("What is 1 plus 1?", temperature=0, ignore_eos=True, max_tokens=40)
        assert (endless.finish_reason, endless.usage.completion_tokens) == ("length", 40)
        first = short.text[:1]
        stopped = pool.chat("What is 1 plus 1?", temperature=0, min_tokens=30, stop=first)
        assert (stopped.finish_reason, stopped.text) == ("stop", "")
        with pytest.raises(ContextOverflow):
            pool.chat("What is 1 plus 1?", min_tokens=100_000)
