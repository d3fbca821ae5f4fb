"""Answers held to something, from the caller's option to `Response.parsed`, with each executor."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pytest
from api_answers import answers_to_schemas, that_end

from poolinfer import Chat, InvalidGrammar, Model, ParseError, Pool, Response
from poolinfer.executor import Constraint
from poolinfer.testing import FakeExecutor


@dataclass(frozen=True)
class Answer:
    city: Literal["Lima", "Oslo"]
    n: int


ANSWER = Answer("Lima", 3)
JSON = '{"city": "Lima", "n": 3}'


def reply(request: Any) -> str:
    """What a model that keeps to its constraint says; the text of the prompt where there is none."""
    return JSON if request.constraint is not None else str(request.prompt[0]["content"])


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor(reply)


def test_parsed_is_an_instance_of_the_type_for_each_way_to_call(pool: Pool) -> None:
    assert pool.chat("x", response_format=Answer).parsed == ANSWER
    assert pool.submit(Chat("x", response_format=Answer)).result().parsed == ANSWER
    with pool.stream("x", response_format=Answer) as call:
        assert "".join(chunk.text for chunk in call) == JSON
        assert call.result().parsed == ANSWER
    found = list(pool.map(["x", Chat("y", response_format=dict), "z"][:1] * 3, response_format=Answer))
    assert [one.parsed for one in found] == [ANSWER] * 3
    mixed = [Chat("x", response_format=Answer), Chat("x", response_format=dict[str, Any]), Chat("5")]
    assert [one.parsed for one in pool.map(mixed)] == [ANSWER, {"city": "Lima", "n": 3}, 5]


def test_parsed_in_async_code(pool: Pool, run_async: Any) -> None:
    async def main() -> None:
        assert (await pool.achat("x", response_format=Answer)).parsed == ANSWER
        assert (await pool.submit(Chat("x", response_format=Answer))).parsed == ANSWER
        found = [one.parsed async for one in pool.amap(["x", "y"], response_format=Answer)]
        assert found == [ANSWER, ANSWER]
        texts = [f"{i} " * 8 for i in range(20_000)]
        large = await pool.achat("x", choices=texts)
        assert large.answer == JSON

    run_async(main)


def test_a_schema_gives_plain_data(pool: Pool) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    found = pool.chat("x", response_format=schema)
    assert found.parsed == {"city": "Lima", "n": 3}
    assert found.answer_type is None
    assert pool.chat('{"a": [1]}').parsed == {"a": [1]}


@pytest.mark.parametrize("text", ["no JSON", "", '{"city": "Rome", "n": 3}'])
def test_an_answer_that_does_not_fit(text: str) -> None:
    with Pool(executor=FakeExecutor(lambda _: text)) as pool:
        found = pool.chat("x", response_format=Answer)
    with pytest.raises(ParseError, match="the answer cannot be parsed") as caught:
        found.parsed  # noqa: B018 (a property that raises)
    assert caught.value.partial == text
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.partial, again.message) == (ParseError, text, caught.value.message)


def test_an_answer_that_was_cut_off_or_asks_for_tools() -> None:
    cut = Response("abc", "abc", finish_reason="length", answer_type=Answer)
    with pytest.raises(ParseError, match=r"was cut off .* max_tokens or n_ctx") as caught:
        cut.parsed  # noqa: B018
    assert caught.value.partial == "abc"
    with pytest.raises(ParseError, match="see tool_calls"):
        Response("", finish_reason="tool_calls").parsed  # noqa: B018


def test_a_response_with_a_type_is_data_as_any_other() -> None:
    found = Response(JSON, JSON, answer_type=Answer)
    assert found == Response(JSON, JSON)
    assert hash(found) == hash(Response(JSON, JSON))
    assert "answer_type" not in repr(found)
    for again in (pickle.loads(pickle.dumps(found)), replace(found)):
        assert again == found
        assert again.parsed == ANSWER
    assert asdict(found)["answer_type"] is Answer
    assert found.to_openai() == Response(JSON, JSON).to_openai()


def test_each_of_several_answers_is_parsed() -> None:
    found = Response(JSON, JSON, others=(Response(JSON, JSON),))
    with Pool(executor=FakeExecutor(reply)) as pool:
        ticket = pool.submit(Chat("x", response_format=Answer))._ticket
        timed = ticket.timed(found, 0.0)
    assert [one.parsed for one in timed.choices] == [ANSWER, ANSWER]


def test_the_executor_gets_plain_data(pool: Pool, executor: FakeExecutor) -> None:
    seen: list[Any] = []
    with Pool(executor=FakeExecutor(lambda request: seen.append(request) or JSON)) as own:  # type: ignore[func-returns-value]
        own.chat("x", response_format=Answer, strict=False)
    assert isinstance(seen[0].response_format, Constraint)
    assert (seen[0].constraint.kind, seen[0].constraint.strict) == ("json_schema", False)


@pytest.fixture(scope="module", params=["thread", "process"])
def held(tiny: Model, request: pytest.FixtureRequest) -> Any:
    with Pool(tiny, executor=request.param, slots=8, workers=1) as pool:
        yield pool


def test_answers_of_a_model_are_what_was_asked_for(held: Pool) -> None:
    found = held.chat("Where?", response_format=Answer, temperature=1.5, seed=1, logit_bias=that_end(held))
    assert isinstance(found.parsed, Answer)
    assert held.chat("Well?", choices=["yes", "no"], seed=2).answer in ("yes", "no")
    assert len(held.raw("Say", regex="[0-9]{3}", temperature=2, seed=3).text) == 3
    assert held.chat("a", grammar='root ::= "a" "bc" | "ab" "d"', seed=4).answer in ("abc", "abd")
    assert isinstance(
        held.chat("a", response_format={"type": "json_object"}, max_tokens=400, seed=5).answer, str
    )


def test_what_only_the_engine_finds_wrong_ends_the_call(held: Pool) -> None:
    for options in (
        {"regex": "(a"},
        {"response_format": {"type": "string", "pattern": "(?=a)"}},
        {"response_format": {"type": "string", "format": "shoe-size"}},
        {"response_format": {"$ref": "#"}},
        {"grammar": "start: nothing"},
        {"grammar": "root ::= root"},
    ):
        with pytest.raises(InvalidGrammar) as caught:
            held.raw("x", **options)  # type: ignore[arg-type]
        assert caught.value.field == next(iter(options))


def test_a_cut_answer_says_so(held: Pool) -> None:
    found = held.raw("x", response_format=list[str], max_tokens=1, temperature=0)
    assert found.finish_reason == "length"
    with pytest.raises(ParseError, match="cut off") as caught:
        found.parsed  # noqa: B018
    assert caught.value.partial == found.text


def test_answers_to_schemas_of_apis_beside_free_ones(tiny: Model) -> None:
    with Pool(tiny, slots=8) as pool:
        assert answers_to_schemas(pool, 12) >= 8
