"""Sessions: what joins the history and what does not, and what a turn pays for."""

from __future__ import annotations

import itertools
import json

import pytest
from typing_extensions import TypedDict

from poolinfer import CallCancelled, InvalidRequest, Pool, Prompt, Session, demo_model
from poolinfer.testing import FakeEngine

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def pool():
    with Pool(demo_model(), slots=4) as made:
        yield made


def fake_pool(**options) -> Pool:
    return Pool(executor=FakeEngine(**options).executor())


def test_turns_join_the_history(pool):
    session = pool.session(system="You are a helpful assistant.")
    assert "Ana" in session.chat("My name is Ana.", temperature=0).answer
    assert session.chat("What is my name?", temperature=0).answer == "Your name is Ana."
    assert [message["role"] for message in session.messages] == [
        *("system", "user", "assistant", "user", "assistant")
    ]


async def _two_turns(session) -> str:
    await session.achat("My name is Ana.")
    texts = [chunk.answer async for chunk in session.stream("What is my name?")]
    return "".join(texts)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_turns_of_async_code(pool, backend):
    import anyio

    session = pool.session(temperature=0)
    assert anyio.run(_two_turns, session, backend=backend) == "Your name is Ana."
    assert len(session.messages) == 4


def test_a_streamed_turn_joins_when_it_has_ended(pool):
    session = pool.session(temperature=0)
    call = session.stream("What is the capital of France?")
    assert "".join(chunk.answer for chunk in call) == "The capital of France is Paris."
    assert session.messages[-1]["content"] == "The capital of France is Paris."


def test_options_of_a_turn_win_over_those_of_the_session(pool):
    session = pool.session(temperature=0, max_tokens=1)
    assert session.chat("What is the capital of France?").finish_reason == "length"
    assert session.chat("What is the capital of France?", max_tokens=50).finish_reason == "stop"


def test_one_turn_runs_at_a_time_and_a_cancelled_one_leaves_no_trace():
    with fake_pool(step_delay=0.01) as pool:
        session = pool.session(max_tokens=1000)
        call = session.stream("go on for long")
        with pytest.raises(InvalidRequest, match="still running"):
            session.chat("and another")
        fork = session.fork()
        assert fork.messages == session.messages == []
        call.cancel()
        with pytest.raises(CallCancelled):
            call.result(20)
        assert session.messages == []
        assert session.chat("and another", max_tokens=2).usage.completion_tokens == 2
        assert len(session.messages) == 2


def test_a_refused_turn_leaves_no_trace(pool):
    session = pool.session()
    with pytest.raises(InvalidRequest):
        session.chat("")
    with pytest.raises(InvalidRequest):
        session.chat("x" * 100_000)
    assert session.messages == []


def test_a_fork_goes_its_own_way(pool):
    one = pool.session(temperature=0)
    other = one.fork()
    one.chat("My name is Ana.")
    other.chat("My name is Tom.")
    again = other.fork()
    assert one.chat("What is my name?").answer == "Your name is Ana."
    assert other.chat("What is my name?").answer == "Your name is Tom."
    assert len(again.messages) == 2
    assert again.chat("What is my name?").answer == "Your name is Tom."


def test_messages_are_a_copy(pool):
    given = [{"role": "user", "content": "My name is Ana."}]
    given.append({"role": "assistant", "content": pool.chat(given, temperature=0).answer})
    session = pool.session(messages=given, temperature=0)
    given[0]["content"] = "My name is Tom."
    session.messages[0]["content"] = "My name is Tom."
    assert session.chat("What is my name?").answer == "Your name is Ana."


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 100},
        {"tmperature": 0},
        {"messages": {"role": "user", "content": "x"}},
        {"messages": 7},
        {"messages": [3]},
        {"system": 7},
        {"tools": "search"},
        {"tools": [3]},
    ],
)
def test_what_no_turn_could_have_is_refused_at_once(pool, options):
    with pytest.raises(InvalidRequest):
        pool.session(**options)


def test_json_round_trip(pool):
    session = pool.session(system="You are a helpful assistant.", tools=[WEATHER], temperature=0)
    session.chat("My name is Ana.")
    text = session.to_json()
    again = Session.from_json(text, pool)
    assert again.messages == session.messages
    assert again.to_json() == text
    assert again.chat("What is my name?").answer == session.chat("What is my name?").answer


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "7", "[]", "{}", "null", '{"poolinfer_session": 2}', "[" * 100_000),
        json.dumps({"poolinfer_session": 1, "messages": {}, "tools": [], "options": {}}),
        json.dumps({"poolinfer_session": 1, "messages": [3], "tools": [], "options": {}}),
        json.dumps({"poolinfer_session": 1, "messages": [], "tools": [3], "options": {}}),
        json.dumps({"poolinfer_session": 1, "messages": [], "tools": [], "options": {"system": 3}}),
        json.dumps({"poolinfer_session": 1, "messages": [], "tools": [], "options": {"pool": 3}}),
        json.dumps({"poolinfer_session": 1, "messages": [], "tools": [], "options": {"n_ctx": 3}}),
        7,
    ],
)
def test_text_that_is_no_session_is_refused(pool, text):
    with pytest.raises(InvalidRequest):
        Session.from_json(text, pool)


def test_options_that_are_no_json_are_refused(pool):
    class Person(TypedDict):
        name: str

    with pytest.raises(InvalidRequest, match="options"):
        pool.session(response_format=Person).to_json()


COUNTRIES = ("France", "Peru", "Japan", "Kenya", "Italy", "Spain", "Chile", "Norway", "Egypt", "India")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_tenth_turn_computes_only_what_is_new(workers):
    with Pool(demo_model(), executor="process", workers=workers, slots=2) as pool:
        session = pool.session(system="You are a helpful assistant.", temperature=0)
        usages = [session.chat(f"What is the capital of {country}?").usage for country in COUNTRIES]
        assert usages[0].cached_tokens == 0
        for before, usage in itertools.pairwise(usages):
            # All but the last token of the answer, which ended it and was never computed.
            assert usage.cached_tokens == before.total_tokens - 1


@pytest.mark.parametrize("workers", [1, 2])
def test_where_reasoning_is_dropped_a_turn_computes_from_the_last_equal_token_on(workers):
    """The demo model's template leaves reasoning out, so the answer of the turn before is computed again."""
    with Pool(demo_model(), executor="process", workers=workers, slots=2) as pool:
        session = pool.session(system="You are a helpful assistant.", temperature=0)
        responses = [session.chat(f"What is the capital of {country}? /think") for country in COUNTRIES]
        assert all(response.reasoning for response in responses)
        for before, response in itertools.pairwise(responses):
            assert response.usage.cached_tokens == before.usage.prompt_tokens
        # After a turn without reasoning nothing is dropped.
        plain = session.chat("What is the capital of Cuba?").usage
        assert session.chat("And of Mexico?").usage.cached_tokens == plain.total_tokens - 1


def test_prompts_of_every_kind(pool):
    session = pool.session(temperature=0)
    session.chat(Prompt.user("My name is Ana."))
    session.chat([{"role": "user", "content": "What is my name?"}])
    assert session.messages[-1]["content"] == "Your name is Ana."
    with pytest.raises(InvalidRequest):
        session.chat(None)


def test_tools_of_one_turn_are_refused(pool):
    with pytest.raises(InvalidRequest) as caught:
        pool.session().chat("Hello!", tools=[WEATHER])
    assert caught.value.field == "tools"
    assert "pool.session" in str(caught.value)
