"""The limits table (F-44..F-46): every bound, at its edges."""

from __future__ import annotations

import math
from typing import Any

import pytest
from refusals import label, refusal

from poolinfer._checks.limits import LIMITS, check_option, number
from poolinfer._checks.model_fit import check_fit, check_tokens
from poolinfer._checks.normalize import normalize
from poolinfer._data.errors import ContextOverflow, InvalidRequest
from poolinfer._data.requests import Raw


@pytest.mark.parametrize(
    ("n_prompt", "max_tokens", "fits"),
    [(63, None, True), (64, None, False), (65, 1, False), (60, 4, True), (60, 5, False), (1, 63, True)],
)
def test_F44_boundary(n_prompt: int, max_tokens: int | None, fits: bool) -> None:
    if fits:
        check_fit(n_prompt, max_tokens, 64)
        return
    with pytest.raises(ContextOverflow) as caught:
        check_fit(n_prompt, max_tokens, 64)
    assert (caught.value.n_prompt, caught.value.n_ctx) == (n_prompt, 64)


@pytest.mark.parametrize(
    ("n_prompt", "max_tokens", "n_train", "advice"),
    [
        (65, None, 0, "shorten the prompt or raise n_ctx"),
        (64, None, 0, "shorten the prompt or raise n_ctx"),
        (65, 5, 0, "shorten the prompt or raise n_ctx"),
        (60, 5, 0, "shorten the prompt, lower max_tokens or raise n_ctx"),
        (60, 5, 65, "shorten the prompt, lower max_tokens or raise n_ctx (this model was trained for 65)"),
        (60, 5, 64, "shorten the prompt or lower max_tokens (this model was trained for 64)"),
        (65, None, 64, "shorten the prompt (this model was trained for 64)"),
    ],
)
def test_an_overflow_advises_only_what_helps(
    n_prompt: int, max_tokens: int | None, n_train: int, advice: str
) -> None:
    with pytest.raises(ContextOverflow) as caught:
        check_fit(n_prompt, max_tokens, 64, n_train)
    assert caught.value.message.endswith(f"but a call may use 64: {advice}")
    assert ("5 more are asked for" in caught.value.message) == (max_tokens == 5)


WRONG_INTS = (True, False, 1.0, 1.5, math.nan, math.inf, "1", [1], 10**400, -(10**5000), object())


@pytest.mark.parametrize("value", [-1, 0, 2**63, 1_000_001, *WRONG_INTS], ids=label)
def test_F45_max_tokens(value: Any) -> None:
    error = refusal(Raw("x", max_tokens=value))
    assert error.field == "max_tokens"
    assert "None or an int from 1 to 1,000,000" in error.message


NUMBERS: list[tuple[str, list[Any], list[Any]]] = [
    ("temperature", [-0.1, 1e-45, 9e-4, 10.1], [0, 0.0, -0.0, 1e-3, 1, 10]),
    ("dynatemp_range", [-0.1, 10.1], [0, 0.5]),
    ("dynatemp_exponent", [-0.1, 10.1], [0, 0.5]),
    ("top_p", [0, -1, 1.01, 2], [1, 0.5, 1e-6]),
    ("typical_p", [0, 1.01], [1, 0.5]),
    ("top_n_sigma", [-1, 100.1], [0, 1.5]),
    ("xtc_probability", [-0.1, 1.1], [0, 1]),
    ("xtc_threshold", [-0.1, 0.51], [0, 0.5]),
    ("mirostat", [-1, 3, 1.0], [0, 1, 2]),
    ("mirostat_tau", [-1, 101], [0, 5]),
    ("mirostat_eta", [-1, 10.1], [0, 0.1]),
    ("repeat_last_n", [-2, 1_000_001, 1.5], [-1, 0, 64]),
    ("dry_multiplier", [-1, 101], [0, 0.8]),
    ("dry_base", [0, 0.9, 11], [1, 1.75]),
    ("dry_allowed_length", [-1, 1.5], [0, 2]),
    ("dry_penalty_last_n", [-2, 1_000_001], [-1, 0, 64]),
    ("min_tokens", [-1, 1_000_001, 1.5], [0, 3]),
    ("top_k", [-1, 1_000_001, 1.5], [0, 1, 1_000_000]),
    ("min_p", [-0.1, 1.1], [0, 1]),
    ("repeat_penalty", [0, -1, 0.09, 10.1], [0.1, 1, 10]),
    ("presence_penalty", [-10.1, 10.1], [-10, 10]),
    ("frequency_penalty", [-10.1, 10.1], [-10, 10]),
    ("seed", [-1, 2**32 - 1, 2**64], [0, 2**32 - 2, None]),
    ("top_logprobs", [-1, 21], [0, 20]),
    ("priority", [-1001, 1001], [-1000, 0, 1000]),
    ("timeout", [-1, -1e-9, 1.1e7], [0, 0.0, 1, 1e7, None]),
]


@pytest.mark.parametrize(("name", "bad", "good"), NUMBERS, ids=[row[0] for row in NUMBERS])
def test_F46_numbers(name: str, bad: list[Any], good: list[Any]) -> None:
    for value in (*bad, True, math.nan, math.inf, -math.inf, "1", 10**400, [1], object(), 1j):
        assert refusal(Raw("x", **{name: value})).field == name
    for value in good:
        assert getattr(normalize(Raw("x", **{name: value})), name) == value


@pytest.mark.parametrize(
    ("bias", "field"),
    [
        (5, "logit_bias"),
        ([1, 2], "logit_bias"),
        ({"": 1.0}, "logit_bias"),
        ({"-1": 1.0}, "logit_bias"),
        ({"a" * 257: 1.0}, "logit_bias"),
        ({"\ud800": 1.0}, "logit_bias"),
        ({"a": 1000}, "logit_bias['a']"),
        ({"9" * 5000: 1.0}, "logit_bias"),
        ({"2147483648": 1.0}, "logit_bias"),
        ({5: 1.0, "5": 2.0}, "logit_bias"),
        ({1.0: 1.0}, "logit_bias"),
        ({True: 1.0}, "logit_bias"),
        ({-1: 1.0}, "logit_bias"),
        ({2**31: 1.0}, "logit_bias"),
        ({1: math.nan}, "logit_bias[1]"),
        ({1: -math.inf}, "logit_bias[1]"),
        ({1: 101}, "logit_bias[1]"),
        ({1: None}, "logit_bias[1]"),
        (dict.fromkeys(range(10**6), 1.0), "logit_bias"),
    ],
    ids=label,
)
def test_F46_logit_bias(bias: Any, field: str) -> None:
    assert refusal(Raw("x", logit_bias=bias)).field == field


def test_logit_bias_takes_the_keys_that_JSON_has() -> None:
    found = normalize(Raw("x", logit_bias={"5": 1, "007": -1, "5x": 2, " \u0663": 3}))
    assert isinstance(found, Raw)
    assert found.logit_bias == {5: 1.0, 7: -1.0, "5x": 2.0, " \u0663": 3.0}
    assert refusal(Raw("x", logit_bias={"-5": 1})).message.startswith("logit_bias key '-5': use an int")


def test_sequence_breakers_are_texts_that_llama_cpp_takes_whole() -> None:
    for one in ("\n", ["\n"], ("\n",)):
        assert normalize(Raw("x", dry_sequence_breakers=one)) == Raw("x", dry_sequence_breakers=("\n",))
    assert normalize(Raw("x", dry_sequence_breakers=())) == Raw("x", dry_sequence_breakers=())
    for bad in ([""], ["a" * 41], ["a\0b"], ["a"] * 17, 5, [5], {"a": 1}):
        error = refusal(Raw("x", dry_sequence_breakers=bad))  # type: ignore[arg-type]
        assert (error.field or "").startswith("dry_sequence_breakers"), bad


def test_an_answer_cannot_be_longer_than_its_longest() -> None:
    error = refusal(Raw("x", min_tokens=4, max_tokens=3))
    assert error.field == "min_tokens"
    assert "use max_tokens (3) or less" in error.message
    normalize(Raw("x", min_tokens=3, max_tokens=3))
    normalize(Raw("x", min_tokens=3))


def test_F46_tokens_of_the_model() -> None:
    found = normalize(Raw("x", logit_bias={5: -100, 7: 1}))
    assert isinstance(found, Raw)
    assert found.logit_bias == {5: -100.0, 7: 1.0}
    check_tokens(found.logit_bias, 8)
    check_tokens(None, 8)
    with pytest.raises(InvalidRequest, match="logit_bias key 7: use token ids from 0 to 6") as caught:
        check_tokens(found.logit_bias, 7)
    assert caught.value.field == "logit_bias"


@pytest.mark.parametrize("name", [name for name, row in LIMITS.items() if not row.zero])
def test_limits_hold_at_their_edges(name: str) -> None:
    row = LIMITS[name]
    kind = int if row.whole else float
    assert row.why
    assert number(name, kind(row.low)) == row.low
    assert number(name, kind(row.high)) == row.high
    step = 1 if row.whole else 1e-6
    for value in (kind(row.low) - step, kind(row.high) * (1 + step) + step):
        with pytest.raises(InvalidRequest):
            number(name, value)


@pytest.mark.parametrize(
    "name", ["workers", "slots", "threads", "n_ctx", "n_batch", "max_queue", "latency_target", "grace"]
)
def test_options(name: str) -> None:
    row = LIMITS[name]
    value = row.high if not row.whole else int(row.high)
    assert check_option(name, value) == value
    for bad in (-1, True, math.nan, None, "2"):
        with pytest.raises(InvalidRequest) as caught:
            check_option(name, bad)  # type: ignore[type-var]
        assert caught.value.field == name
    with pytest.raises(InvalidRequest, match="no option"):
        check_option("nonsense", 1)
