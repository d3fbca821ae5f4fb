"""Answers that are held to something, from lanes in threads and in worker processes, with the demo model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from poolinfer import Chat, InvalidGrammar, InvalidRequest, Model, Pool, Raw

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "likes": {"type": "array", "items": {"enum": ["tea", "music"]}, "maxItems": 2},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"enum": [1, 7]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "clock", "strict": False}}
BAD = {"type": "string", "pattern": "("}
WRONG: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "strict": True, "parameters": {"properties": {"a": BAD}}},
}
WORDS = 'start: "(" word+ ")"\nword: /[a-z]{1,4}/ " "'
FREE = ["Say hello in Japanese.", "What is the capital of Italy?", "Count from 1 to 20."]


@pytest.fixture(scope="module", params=["thread", "process"])
def pool(request: pytest.FixtureRequest, tiny: Model) -> Iterator[Pool]:
    with Pool(tiny, executor=request.param, slots=8, threads=1) as pool:
        yield pool


def test_guided_answers_are_right_and_free_ones_beside_them_are_the_same(pool: Pool) -> None:
    alone = [pool.chat(text, temperature=0).text for text in FREE]
    guided: list[Chat | Raw] = [
        *(
            Chat(f"Who, {i}?", response_format=PERSON, seed=i, temperature=2.0, max_tokens=200)
            for i in range(8)
        ),
        *(Raw(f"{i}: ", regex="[a-f]{3,9}[0-9]", seed=i) for i in range(4)),
        *(Chat("Which colour?", choices=["red", "dark green"], seed=i) for i in range(4)),
        *(Chat("Say it.", grammar=WORDS, seed=i, max_tokens=40) for i in range(2)),
    ]
    free: list[Chat | Raw] = [Chat(text, temperature=0) for text in [*FREE, *FREE, *FREE]]
    together = [request for pair in zip(guided, free, strict=False) for request in pair] + guided[len(free) :]
    replies = dict(zip(map(id, together), pool.map(together), strict=True))
    assert [replies[id(request)].text for request in free] == alone * 3
    for request in guided[:8]:
        reply = replies[id(request)]
        assert reply.finish_reason == "stop"
        jsonschema.validate(json.loads(reply.answer), PERSON)
    for request in guided[8:12]:
        assert re.fullmatch("[a-f]{3,9}[0-9]", replies[id(request)].text)
    for request in guided[12:16]:
        assert replies[id(request)].text in ("red", "dark green")
    for request in guided[16:]:
        assert re.match(r"\(([a-z]{1,4} )+", replies[id(request)].text)


def test_a_tool_that_is_required_is_called(pool: Pool) -> None:
    tools = [WEATHER, CLOCK]
    for seed in range(4):
        reply = pool.chat("Tell me a story.", tools=tools, tool_choice="required", seed=seed, max_tokens=300)
        assert reply.finish_reason == "tool_calls"
        for call in reply.tool_calls:
            assert call.name in ("get_weather", "clock")
            if call.name == "get_weather":
                jsonschema.validate(json.loads(call.arguments), WEATHER["function"]["parameters"])
        assert reply.answer == ""


def test_a_named_tool_is_called_once(pool: Pool) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    reply = pool.chat("What time is it?", tools=[CLOCK, WEATHER], tool_choice=choice, max_tokens=100)
    (call,) = reply.tool_calls
    assert call.name == "get_weather"
    jsonschema.validate(json.loads(call.arguments), WEATHER["function"]["parameters"])


def test_the_guide_wins_over_options_that_keep_an_answer_from_ending(pool: Pool) -> None:
    assert pool.chat("Which colour?", choices=["red"], min_tokens=20, ignore_eos=True).text == "red"
    assert re.fullmatch("ab{0,9}", pool.raw("a", regex="ab{0,9}", min_tokens=4, max_tokens=30).text)


def test_a_bias_against_all_that_is_allowed_fails_this_call_alone(pool: Pool) -> None:
    reply = pool.chat("Yes or no?", choices=["yes", "no"], logit_bias={"yes": -100.0})
    assert reply.text in ("yes", "no")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"regex": "(?=a)b"}, "regex"),
        ({"response_format": {"type": "string", "minLength": 3, "maxLength": 2}}, "response_format"),
        ({"grammar": "start: first"}, "grammar"),
        (
            {"tools": [WRONG]},
            "tools",
        ),
    ],
)
def test_F49_what_no_answer_can_be_held_to_fails_by_name(pool: Pool, options: Any, field: str) -> None:
    with pytest.raises(InvalidGrammar) as caught:
        pool.chat("x", **options)
    assert caught.value.field == field
    assert pool.chat("Say hello in Japanese.", temperature=0).finish_reason == "stop"


def test_a_tool_that_is_not_offered_cannot_be_required(pool: Pool) -> None:
    with pytest.raises(InvalidRequest) as caught:
        pool.chat("x", tool_choice="required")
    assert caught.value.field == "tool_choice"
    with pytest.raises(InvalidRequest) as caught:
        pool.chat("x", tools=[CLOCK], tool_choice={"type": "function", "function": {"name": "cock"}})
    assert caught.value.field == "tool_choice.function.name"
