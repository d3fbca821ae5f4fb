"""How a step's prompt rows are bounded, with exact costs."""

from __future__ import annotations

from poolinfer._engine.pace import Pace


def test_nobody_decoding_gets_whole_batches() -> None:
    pace = Pace(target=0.25, n_batch=512)
    assert pace.prefill_budget(0) == 512
    pace.observe(prefill=512, decoding=0, seconds=10.0)
    assert pace.prefill_budget(0) == 512


def test_a_first_guess_is_small() -> None:
    assert Pace(target=0.25, n_batch=512).prefill_budget(4) == 64


def test_the_budget_meets_the_target_when_costs_are_steady() -> None:
    base, per_token, target = 0.050, 0.002, 0.250
    pace = Pace(target, n_batch=512)
    for _ in range(50):
        pace.observe(prefill=0, decoding=8, seconds=base)
        n = pace.prefill_budget(8)
        pace.observe(prefill=n, decoding=8, seconds=base + n * per_token)
    assert pace.prefill_budget(8) == (target - base) / per_token


def test_a_prompt_always_advances_however_slow_the_steps() -> None:
    pace = Pace(target=0.01, n_batch=512)
    pace.observe(prefill=0, decoding=1, seconds=3.0)
    pace.observe(prefill=64, decoding=1, seconds=9.0)
    assert pace.prefill_budget(1) == 16


def test_the_batch_bounds_the_budget() -> None:
    pace = Pace(target=10.0, n_batch=100)
    pace.observe(prefill=64, decoding=1, seconds=0.001)
    assert pace.prefill_budget(30) == 70
    assert pace.prefill_budget(100) == 0
