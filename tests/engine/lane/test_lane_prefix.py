"""Prompts that begin alike inside a lane, step by step on a fake engine and for real on the demo model.

A wrong copy shows: what the fake engine answers is computed from the tokens that its context holds.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rides import CostedEngine, Ride, raw
from shared_prompts import SYSTEM, N, ask

from poolinfer._data.events import Failed
from poolinfer._data.results import Usage

pytestmark = pytest.mark.usefixtures("memory")

LEAST = 32  # of the 4 096 tokens of a `Ride`


def prompt_rows(ride: Ride) -> int:
    return ride.lane.counters.prompt_tokens


def cached(ride: Ride) -> int:
    return ride.lane.counters.cached_tokens


def kind(ride: Ride, job_id: int) -> str:
    last = ride.said[job_id][-1]
    assert isinstance(last, Failed), last
    return last.kind


# Arriving together.


@pytest.mark.parametrize("slots", [2, 5, 16])
def test_calls_that_arrive_together_compute_their_prefix_once(slots: int) -> None:
    ride = Ride(CostedEngine(tokens=8), slots)
    for n in range(slots):
        ride.join(n, raw(ask(n)))
    ride.run()
    own = len(ask(0)) - N
    assert prompt_rows(ride) == N + slots * own
    assert cached(ride) == (slots - 1) * N
    for n in range(slots):
        assert ride.text(n) == ask(n)[:8]
        assert ride.usage(n) == Usage(N + own, N if n else 0, 9)


def test_only_the_first_of_each_prefix_computes() -> None:
    ride = Ride(CostedEngine(tokens=4), slots=12)
    systems = [letter * 300 for letter in "abc"]
    for n in range(12):
        ride.join(n, raw(ask(n, systems[n % 3])))
    ride.run()
    assert [ride.usage(n).cached_tokens for n in range(3)] == [0, 0, 0]
    assert all(ride.usage(n).cached_tokens == 300 for n in range(3, 12))
    assert prompt_rows(ride) == 3 * 300 + 12 * len(ask(0, ""))


def test_a_chain_of_longer_and_longer_prefixes() -> None:
    """The third shares more with the second than with the first: it waits for one, then for the other."""
    ride = Ride(CostedEngine(tokens=4), slots=4)
    ride.join(1, raw("a" * 200 + "x" * 700))
    ride.join(2, raw("a" * 200 + "b" * 200 + "y" * 100))
    ride.join(3, raw("a" * 200 + "b" * 200 + "z" * 100))
    ride.run()
    assert [ride.usage(n).cached_tokens for n in (1, 2, 3)] == [0, 200, 400]


def test_waiting_takes_no_part_in_steps() -> None:
    ride = Ride(CostedEngine(tokens=300))
    ride.join(1, raw("s"))
    ride.step(5)
    ride.join(2, raw("a" * 1000 + "b"))
    ride.join(3, raw("a" * 1000 + "c"))
    ride.join(4, raw("dddd", max_tokens=1))
    ride.step(2)
    assert ride.tasks[4].ended  # which waits for nobody
    while cached(ride) == 0:
        ride.step()
    assert all(len(rows) <= 2 for rows in ride.engine.steps_rows[7:-1])
    while len(ride.engine.steps_rows[-1]) < 3:
        ride.step()
    assert not ride.tasks[3].ended
    ride.run()
    assert ride.usage(3).cached_tokens == 1000


# One after the other.


def test_a_resident_is_copied_and_an_equal_prompt_computes_one_token() -> None:
    ride = Ride(CostedEngine())
    assert ride.ask(1, raw(ask(1))) == ask(1)
    assert ride.ask(2, raw(ask(2))) == ask(2)
    assert ride.context.copies == [(0, 1)]
    before = prompt_rows(ride)
    assert ride.ask(3, raw(ask(1))) == ask(1)
    assert prompt_rows(ride) == before + 1
    assert ride.usage(3).cached_tokens == len(ask(1)) - 1


def test_a_conversation_goes_on_in_place_with_its_answers_reused() -> None:
    ride = Ride(CostedEngine(tokens=40))
    text = "Tell me something. " * 5
    for turn in range(4):
        before = prompt_rows(ride)
        answer = ride.ask(turn, raw(text))
        assert prompt_rows(ride) - before == (len(text) if turn == 0 else 30)
        text += answer + f"And then? This is question {turn}. "
    assert ride.context.copies == []


def test_the_least_recently_used_resident_is_evicted(memory: int | None) -> None:
    ride = Ride(CostedEngine(tokens=2), slots=2)
    first, second, third = ("a" * 100, "b" * 100, "c" * 100)
    for n, text in enumerate((first, second, first, third)):
        ride.ask(n, raw(text))
    assert [ride.usage(n).cached_tokens for n in range(4)] == [0, 0, 99, 0]
    ride.ask(4, raw(first))
    ride.ask(5, raw(second))
    # Of blocks there are enough, and two sequences for each slot.
    assert [ride.usage(n).cached_tokens for n in (4, 5)] == [99, 0 if memory is None else 99]


def test_keys_keep_tenants_apart() -> None:
    ride = Ride(CostedEngine())
    for n, key in enumerate(("a", "b", None, "a")):
        ride.join(n, raw(ask(n), cache_key=key))
    ride.run()
    assert [ride.usage(n).cached_tokens > 0 for n in range(4)] == [False, False, False, True]
    assert ride.ask(4, raw(ask(0), cache_key="c")) == ask(0)
    assert ride.usage(4).cached_tokens == 0


@pytest.mark.parametrize(("prefix_cache", "kv_reuse"), [(False, True), (True, False)])
def test_off_means_nothing_is_kept(prefix_cache: bool, kv_reuse: bool) -> None:
    ride = Ride(CostedEngine(kv_reuse=kv_reuse), prefix_cache=prefix_cache)
    for n in range(3):
        assert ride.ask(n, raw(ask(7))) == ask(7)
        assert all(not ride.context.held(sequence) for sequence in range(4))
    for n in range(3, 7):
        ride.join(n, raw(ask(n)))
    ride.run()
    assert [ride.text(n) for n in range(3, 7)] == [ask(n) for n in range(3, 7)]
    assert cached(ride) == 0
    assert prompt_rows(ride) == 7 * len(ask(0))


# What goes wrong.


def test_F74_a_prefiller_that_is_cancelled_leaves_what_it_computed_and_no_more() -> None:
    secret = SYSTEM * 3 + "The password is tulip. " * 40
    ride = Ride(CostedEngine())
    ride.join(1, raw(secret))
    ride.join(2, raw(SYSTEM * 3 + "What is the password?"))
    ride.join(3, raw(SYSTEM * 3 + "What is the weather?"))
    ride.step()
    assert 0 < prompt_rows(ride) < 3 * N  # the first is in the middle of what they share
    computed = prompt_rows(ride)
    ride.cancel(1)
    ride.run()
    assert kind(ride, 1) == "CallCancelled"
    assert ride.text(2) == SYSTEM * 3 + "What is the password?"
    assert ride.text(3) == SYSTEM * 3 + "What is the weather?"
    assert ride.usage(2).cached_tokens == computed
    assert ride.usage(3).cached_tokens == 3 * N + len("What is the ")
    ride.ask(4, raw("Something else"))
    for sequence in range(1, 4):
        assert b"tulip" not in bytes(ride.context.held(sequence))


def test_a_call_that_is_cancelled_while_it_waits_leaves_nothing() -> None:
    ride = Ride(CostedEngine())
    ride.join(1, raw(ask(1, "a" * 1500)))
    ride.join(2, raw(ask(2, "a" * 1500)))
    ride.step()
    ride.cancel(2)
    ride.run()
    assert kind(ride, 2) == "CallCancelled"
    assert ride.text(1) == ask(1, "a" * 1500)
    assert ride.context.copies == []


def test_F12_those_who_wait_outlive_a_step_that_fails() -> None:
    ride = Ride(CostedEngine(raise_after=2))
    for n in range(3):
        ride.join(n, raw(ask(n, "a" * 1500)))
    ride.run()
    assert kind(ride, 0) == "EngineError"
    assert [ride.text(n) for n in (1, 2)] == [ask(n, "a" * 1500) for n in (1, 2)]
    assert [ride.usage(n).cached_tokens for n in (1, 2)] == [0, 1500]


def test_F12_nothing_is_resident_after_a_step_that_failed() -> None:
    ride = Ride(CostedEngine(raise_after=40))
    ride.ask(1, raw("a" * 30))
    assert ride.engine.steps < 40
    ride.join(2, raw("b" * 30))
    ride.run()
    assert kind(ride, 2) == "EngineError"
    assert ride.ask(3, raw("a" * 30)) == "a" * 30
    assert ride.usage(3).cached_tokens == 0


@pytest.mark.parametrize("kv_reuse", [True, False])
def test_a_step_that_was_stopped_costs_itself_only(kv_reuse: bool) -> None:
    """Where KV can be cut, residents and what neighbours had computed survive; elsewhere all starts again."""
    engine = CostedEngine(kv_reuse=kv_reuse)
    ride = Ride(engine)
    ride.ask(1, raw(ask(1)))
    ride.join(2, raw("neighbour" * 5))
    ride.join(3, raw(ask(3)))
    ride.step(3)
    before = prompt_rows(ride)
    engine.abort_at = len(engine.steps_rows) + 1
    ride.run()
    assert (ride.text(2), ride.text(3)) == ("neighbour" * 5, ask(3))
    again = prompt_rows(ride) - before
    assert again == 0 if kv_reuse else again > N
    assert ride.usage(3).cached_tokens == (N if kv_reuse else 0)
    ride.ask(4, raw(ask(1)))
    assert (ride.usage(4).cached_tokens > 0) == kv_reuse


def test_a_cancelled_answer_is_there_for_the_next_turn() -> None:
    """Somebody stops a long answer, alone in the lane, and asks on: nothing is computed again."""
    engine = CostedEngine(tokens=500)
    ride = Ride(engine)
    ride.join(1, raw(SYSTEM))
    while ride.lane.counters.completion_tokens < 101:
        ride.step()
    engine.abort_at = len(engine.steps_rows) + 1
    ride.step()
    ride.cancel(1)
    ride.run()
    before = prompt_rows(ride)
    ride.ask(2, raw(SYSTEM + (SYSTEM * 2)[:100] + "Go on."))
    assert prompt_rows(ride) - before == len("Go on.")


@settings(max_examples=75, deadline=None)
@given(st.data())
def test_any_mix_of_prompts_cancels_stops_and_failures_is_answered_right(data: st.DataObject) -> None:
    engine = CostedEngine(kv_reuse=data.draw(st.booleans()))
    ride = Ride(engine, slots=data.draw(st.sampled_from([1, 2, 3, 5])))
    starts = ["", "a" * 700, "a" * 700 + "b" * 100, "a" * 40, "c" * 33]
    prompts = st.tuples(st.sampled_from(starts), st.text("de", min_size=1, max_size=90)).map("".join)
    requests = data.draw(
        st.lists(
            st.tuples(prompts, st.sampled_from([None, "k"]), st.integers(1, 60)), min_size=1, max_size=12
        )
    )
    engine.raise_after = data.draw(st.none() | st.integers(1, 60))
    stops = data.draw(st.sets(st.integers(1, 60), max_size=3))
    asked: dict[int, str] = {}
    while requests or not all(task.ended for task in ride.tasks.values()):
        if requests and sum(not task.ended for task in ride.tasks.values()) < ride.slots:
            text, key, most = requests.pop()
            asked[len(asked)] = text[:most]
            ride.join(len(asked) - 1, raw(text, max_tokens=most, cache_key=key))
        if data.draw(st.integers(0, 9)) == 0:
            ride.cancel(data.draw(st.sampled_from(sorted(ride.tasks))))
        engine.abort_at = len(engine.steps_rows) + 1 if len(engine.steps_rows) in stops else None
        ride.step(data.draw(st.integers(1, 3)))
        assert len(engine.steps_rows) < 5000
    for job_id, text in asked.items():
        last = ride.said[job_id][-1]
        if not isinstance(last, Failed):
            assert ride.text(job_id) == text
        else:
            assert last.kind in ("CallCancelled", "EngineError")


# Fairness.


def test_a_short_prompt_is_not_held_behind_a_long_one() -> None:
    ride = Ride(CostedEngine(tokens=2))
    ride.join(1, raw("x" * 4000))
    ride.step()
    ride.join(2, raw("short"))
    ride.step()
    assert sorted(ride.engine.steps_rows[-1].values()) == [5, 507]
    ride.run()


def test_a_long_prompt_is_not_starved_by_short_ones() -> None:
    """While the short prompts take all the room, the long one has at least every second step with prompts."""
    ride = Ride(CostedEngine(tokens=1), slots=4)
    ride.join(0, raw("x" * 4000))
    n = 0
    while not ride.tasks[0].ended:
        while sum(not task.ended for task in ride.tasks.values()) < 4:
            n += 1
            ride.join(n, raw(f"{n:04}" + "y" * 508))
        ride.step()
    long_rows = [rows.get(0, 0) for rows in ride.engine.steps_rows if sum(rows.values()) > 4]
    assert all(any(pair) for pair in itertools.pairwise(long_rows))
    assert 0 in long_rows


def test_a_short_prompt_passes_a_long_one_beside_a_stream() -> None:
    ride = Ride(CostedEngine(tokens=500))
    ride.join(1, raw("s"))
    ride.step(5)
    ride.join(2, raw("x" * 3000, max_tokens=1))
    ride.step(3)
    ride.join(3, raw("short", max_tokens=1))
    ride.step()
    assert ride.tasks[3].ended
    assert not ride.tasks[2].ended
