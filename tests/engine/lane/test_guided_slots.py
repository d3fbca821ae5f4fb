"""Slots whose answers are held to something, beside others whose answers are free."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rides import CostedEngine, Ride

from poolinfer import Raw
from poolinfer._checks.normalize import normalize
from poolinfer._data.errors import EngineError
from poolinfer._data.events import Failed, Started
from poolinfer._data.results import Chunk
from poolinfer._engine.guide.guide import Guide

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


def raw(prompt: str, **options: Any) -> Any:
    return normalize(Raw(prompt, temperature=0.0, **options))


pytestmark = pytest.mark.usefixtures("memory")


@pytest.fixture
def ride() -> Ride:
    return Ride(CostedEngine())


def test_an_answer_is_held_to_its_constraint_whatever_the_model_wants(ride: Ride) -> None:
    assert ride.ask(1, raw("I want to say something else", choices=["yes"])) == "yes"
    assert ride.response(1).finish_reason == "stop"


def test_neighbours_of_a_guided_slot_say_what_they_say_alone(ride: Ride) -> None:
    texts = [f"neighbour {n} says this" for n in range(3)]
    alone = [ride.ask(n, raw(text)) for n, text in enumerate(texts)]
    for n, text in enumerate(texts):
        ride.join(10 + n, raw(text))
    ride.join(20, raw("free", regex="[xyz]{12}!"))
    ride.run()
    assert [ride.text(10 + n) for n in range(3)] == alone
    assert ride.text(20).endswith("!")


def test_what_the_model_wants_is_taken_where_it_is_allowed(ride: Ride) -> None:
    assert ride.ask(1, raw("abcab", regex="[a-c]+")) == "abcab"
    assert ride.ask(2, raw("ab1cab", regex="[a-c]{6}")) == "abacab"


def test_the_answer_ends_when_only_the_end_may_follow(ride: Ride) -> None:
    before = ride.engine.steps
    assert ride.ask(1, raw("abcd", regex="abc")) == "abc"
    # "ab" is forced and computed with the prompt. The first step gives "c", and nothing may follow.
    assert ride.engine.steps - before == 1
    assert ride.usage(1).completion_tokens == 3


def test_forced_tokens_are_said_first_and_count_as_the_answer(ride: Ride) -> None:
    ride.join(1, raw("green", response_format=SCHEMA))
    ride.step()
    started, first = ride.said[1][:2]
    assert started == Started(len("green"))
    assert isinstance(first, Chunk)
    said = "".join(chunk.text for chunk in ride.said[1] if isinstance(chunk, Chunk))
    assert said.startswith('{"colour": "')
    ride.run()
    assert ride.text(1) in ('{"colour": "red"}', '{"colour": "green"}')
    assert ride.usage(1).prompt_tokens == len("green")
    assert ride.usage(1).completion_tokens == len(ride.text(1))


@pytest.mark.parametrize("most", [1, 5, 12, 13])
def test_an_answer_that_is_cut_off_says_so(ride: Ride, most: int) -> None:
    text = ride.ask(1, raw("green", response_format=SCHEMA, max_tokens=most))
    assert ride.response(1).finish_reason == "length"
    assert len(text) == ride.usage(1).completion_tokens == most
    assert '{"colour": "red"}'.startswith(text[:12])


def test_a_stop_text_ends_a_guided_answer_as_always(ride: Ride) -> None:
    assert ride.ask(1, raw("x", response_format=SCHEMA, stop=["olo"])) == '{"c'
    assert ride.response(1).finish_reason == "stop"


def test_log_probabilities_are_those_before_the_mask(ride: Ride) -> None:
    text = ride.ask(1, raw("no", choices=["yes"], logprobs=True, top_logprobs=1))
    assert text == "yes"
    first = ride.response(1).logprobs[0]
    assert (first.text, first.top[0][1]) == ("y", "n")
    # Of a row of zeros but for the token that the model wants.
    total = math.log(math.exp(10) + ride.engine.info.n_vocab - 1)
    assert first.logprob == pytest.approx(-total)
    assert first.top[0][2] == pytest.approx(10 - total)
    assert len(ride.response(1).logprobs) == 3


def test_a_guide_that_fails_ends_its_own_call_alone(ride: Ride, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Guide, token: int) -> None:
        raise EngineError("regex: too much")

    monkeypatch.setattr(Guide, "accept", fail)
    ride.join(1, raw("abc", regex="[a-z]+"))
    ride.join(2, raw("neighbour"))
    ride.run()
    last = ride.said[1][-1]
    assert isinstance(last, Failed)
    assert (last.kind, last.message) == ("EngineError", "regex: too much")
    assert ride.text(2) == "neighbour"
    assert ride.ask(3, raw("next")) == "next"


def test_a_call_that_waits_for_another_sequence_goes_on_by_its_guide() -> None:
    ride = Ride(CostedEngine(), slots=4, n_ctx=64, kv_tokens=96)
    for n in range(4):
        ride.join(n, raw(f"{n}" * 30, regex="[a-c]{20}!"))
    ride.run()
    for n in range(4):
        assert len(ride.text(n)) == 21
        assert ride.text(n).endswith("!")
