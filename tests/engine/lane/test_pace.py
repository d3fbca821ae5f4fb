"""How a step's prompt rows are bounded, with exact costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolinfer._engine.lane.pace import Pace, prompt_rows


def test_nobody_decoding_gets_whole_batches() -> None:
    pace = Pace(target=0.25, n_batch=512)
    pace.observe(prefill=64, decoding=0, seconds=0.3)
    assert pace.prefill_budget(0) == 512


@pytest.mark.parametrize(("target", "seconds"), [(0.25, 2.5), (6.0, 6.0)])
@pytest.mark.parametrize("decoding", [0, 8])
def test_no_prompt_keeps_a_slow_model_busy_for_long(target: float, seconds: float, decoding: int) -> None:
    """What is cancelled meanwhile must not look as if it were ignored."""
    pace = Pace(target, n_batch=512)
    pace.observe(prefill=0, decoding=8, seconds=3.0)
    pace.observe(prefill=64, decoding=0, seconds=64 * 0.020)
    assert pace.prefill_budget(decoding, entering=8) * 0.020 <= seconds
    assert pace.prefill_budget(0) == seconds / 0.020


def test_rows_that_waited_for_the_file_are_soon_forgotten() -> None:
    pace = Pace(target=0.25, n_batch=512)
    pace.observe(prefill=64, decoding=0, seconds=60.0)
    for _ in range(5):
        n = pace.prefill_budget(0)
        pace.observe(prefill=n, decoding=0, seconds=n * 0.005)
    assert pace.prefill_budget(0) > 300


def test_a_first_guess_is_small() -> None:
    pace = Pace(target=0.25, n_batch=512)
    assert pace.prefill_budget(4) == pace.prefill_budget(0) == 64


@pytest.mark.parametrize("first", ["decode", "prompt", "mixed"])
def test_the_budget_meets_the_target_when_costs_are_steady(first: str) -> None:
    base, per_token, target = 0.050, 0.002, 0.250
    pace = Pace(target, n_batch=512)
    if first == "decode":
        pace.observe(prefill=0, decoding=8, seconds=base)
    if first == "prompt":
        pace.observe(prefill=512, decoding=0, seconds=512 * per_token)
    for _ in range(50):
        n = pace.prefill_budget(8)
        pace.observe(prefill=n, decoding=8, seconds=base + n * per_token)
        pace.observe(prefill=0, decoding=8, seconds=base)
    assert pace.prefill_budget(8) == pytest.approx((target - base) / per_token, abs=1)


def test_it_follows_steps_that_are_never_of_one_kind() -> None:
    pace = Pace(0.250, n_batch=512)
    pace.observe(prefill=512, decoding=0, seconds=0.512)
    for _ in range(60):  # all slower than that promised, as when a neighbour takes half of the machine
        n = pace.prefill_budget(8)
        seconds = 0.050 + n * 0.002
        pace.observe(prefill=n, decoding=8, seconds=seconds)
    assert 0.050 + pace.prefill_budget(8) * 0.002 == pytest.approx(0.250, rel=0.1)


def test_slow_decoding_does_not_starve_prompts() -> None:
    pace = Pace(target=0.25, n_batch=512)
    pace.observe(prefill=0, decoding=16, seconds=0.400)
    pace.observe(prefill=50, decoding=16, seconds=0.400 + 50 * 0.004)
    assert pace.prefill_budget(16) == 300


def test_several_prompts_may_take_longer_steps() -> None:
    pace = Pace(target=0.25, n_batch=2048)
    pace.observe(prefill=0, decoding=4, seconds=0.100)
    pace.observe(prefill=50, decoding=4, seconds=0.100 + 50 * 0.001)
    assert [pace.prefill_budget(4, entering) for entering in (1, 2, 3, 8, 12)] == [300, 700, 700, 700, 1100]


def test_one_step_that_hangs_is_not_taken_for_the_pace() -> None:
    pace = Pace(target=0.25, n_batch=512)
    for seconds in (0.1, 0.1, 5.0):
        pace.observe(prefill=0, decoding=4, seconds=seconds)
    pace.observe(prefill=100, decoding=4, seconds=0.125 + 0.2)
    assert pace.prefill_budget(4) == int(3 * 0.125 / 0.002)


def test_a_number_of_rows_not_seen_before_is_tried_without_prompts() -> None:
    pace = Pace(target=0.25, n_batch=512)
    pace.observe(prefill=0, decoding=8, seconds=0.1)
    pace.observe(prefill=100, decoding=8, seconds=0.3)
    assert [pace.prefill_budget(n) > 0 for n in (1, 6, 7, 9, 10, 11)] == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_prompt_always_advances_however_slow_its_rows() -> None:
    pace = Pace(target=0.01, n_batch=512)
    pace.observe(prefill=64, decoding=0, seconds=64.0)
    assert pace.prefill_budget(1) == 0  # how long a step without it takes is not known yet
    pace.observe(prefill=0, decoding=1, seconds=0.001)
    assert pace.prefill_budget(1) == 16


def test_the_batch_bounds_the_budget() -> None:
    pace = Pace(target=10.0, n_batch=100)
    pace.observe(prefill=64, decoding=0, seconds=0.001)
    pace.observe(prefill=0, decoding=30, seconds=0.001)
    pace.observe(prefill=0, decoding=100, seconds=0.001)
    assert pace.prefill_budget(30) == pace.prefill_budget(100) == 100  # beside those that decode


def test_short_prompts_come_first() -> None:
    assert prompt_rows([3000, 20, 100], 512, oldest_first=False) == [392, 20, 100]
    assert prompt_rows([20, 100], 512, oldest_first=False) == [20, 100]
    assert prompt_rows([], 512, oldest_first=False) == []


def test_the_oldest_prompt_comes_first_in_its_turn() -> None:
    assert prompt_rows([3000, 300, 300], 512, oldest_first=False) == [0, 300, 212]
    assert prompt_rows([3000, 300, 300], 512, oldest_first=True) == [512, 0, 0]
    assert prompt_rows([30, 300, 20], 100, oldest_first=True) == [30, 50, 20]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.integers(0, 600), st.booleans())
def test_no_room_is_left_over_and_none_is_given_twice(pending: list[int], room: int, oldest: bool) -> None:
    rows = prompt_rows(pending, room, oldest_first=oldest)
    assert sum(rows) == min(room, sum(pending))
    assert all(0 <= got <= needed for got, needed in zip(rows, pending, strict=True))
