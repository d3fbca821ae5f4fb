"""What the demo model was trained for besides plain chats: judging, two spellings of calls, JSON by schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from poolinfer import Chat, Model, Pool, Prompt, demo_model

ROOT = Path(__file__).resolve().parents[3]
TAGGED = ROOT / "tools" / "tiny_model" / "tagged.jinja"
EXECUTORS = pytest.mark.parametrize("executor", ["thread", "process"])
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@dataclass
class Person:
    """A person as the training writes one."""

    name: str
    age: int
    city: str


@dataclass
class Resident:
    """Fewer values, and in another order."""

    city: str
    name: str


@dataclass
class Reversed:
    """All values in the opposite order."""

    city: str
    age: int
    name: str


@pytest.fixture(scope="module")
def tagged() -> Iterator[Model]:
    with Model.load(demo_model(), chat_template=TAGGED.read_text(encoding="utf-8")) as model:
        yield model


@pytest.fixture(scope="module")
def pool(tiny: Model) -> Iterator[Pool]:
    with Pool(tiny, slots=4, threads=1) as pool:
        yield pool


@EXECUTORS
def test_the_judge_puts_the_document_of_the_right_kind_first(tiny: Model, executor: Any) -> None:
    assert tiny.info.ranking == "judge"
    documents = [
        "The capital of Peru is Lima.",
        "Maria is 31 years old and lives in Lisbon.",
        "It is sunny in Cairo.",
        "I love this film.",
    ]
    wanted = {
        "What is the capital of Peru?": 0,
        "How old is Maria?": 1,
        "What is the weather in Cairo?": 2,
    }
    with Pool(tiny, executor=executor, workers=1, slots=4, threads=1) as pool:
        for query, place in wanted.items():
            ranked = pool.rerank(query, documents)
            assert ranked[0].index == place
            assert ranked[0].relevance_score > 0.5 > ranked[1].relevance_score


def test_the_judge_is_right_about_held_out_pairs(pool: Pool, questions: list[dict[str, Any]]) -> None:
    """The template for reranking shows a pair as the chats do in which the pairs were asked."""
    pairs = [item for item in questions if item["task"] == "judge"]
    assert len(pairs) >= 40
    assert {item["answer"] for item in pairs} == {"yes", "no"}
    for item in pairs:
        document, query = item["messages"][-1]["content"].removeprefix("Document: ").split("\nQuery: ")
        (found,) = pool.rerank(query, [document])
        assert (found.relevance_score > 0.5) is (item["answer"] == "yes"), item


@EXECUTORS
def test_both_spellings_of_calls_are_read(tiny: Model, tagged: Model, executor: Any) -> None:
    chat = Chat("What is the weather in Lisbon?", tools=[WEATHER], temperature=0)
    options: dict[str, Any] = {"executor": executor, "workers": 1, "slots": 2, "threads": 1}
    texts = []
    for model in (tiny, tagged):
        with Pool(model, **options) as pool:
            reply = pool.submit(chat).result(timeout=60)
        (call,) = reply.tool_calls
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Lisbon"})
        assert (reply.answer, reply.finish_reason) == ("", "tool_calls")
        texts.append(reply.text)
    assert texts == [
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Lisbon"}}\n</tool_call>',
        "<calls>\n<function=get_weather>\n<parameter=city>Lisbon</parameter>\n</function>\n</calls>",
    ]


def test_marked_calls_are_answered_with_and_without_a_guide(
    tagged: Model, questions: list[dict[str, Any]]
) -> None:
    # In the other chats a tool answers a call that stands there as text, which is refused.
    items = [
        item
        for item in questions
        if item.get("template") == "tagged" and all(turn["role"] != "tool" for turn in item["messages"])
    ]
    assert len(items) >= 10
    with Pool(tagged, slots=4, threads=1) as pool:
        chats = [Chat(item["messages"], tools=item["tools"], temperature=0) for item in items]
        assert [reply.text for reply in pool.map(chats)] == [item["answer"] for item in items]
        asked = Prompt.user("What is the weather in Lisbon?")
        reply = pool.chat(asked, tools=[WEATHER], tool_choice="required", temperature=0)
        (call,) = reply.tool_calls
        assert json.loads(call.arguments) == {"city": "Lisbon"}
        later = asked.assistant(reply).tool("21 C, sunny", call.id)
        assert pool.chat(later, tools=[WEATHER], temperature=0).answer == "It is 21 C, sunny in Lisbon."


@EXECUTORS
def test_json_follows_a_schema(tiny: Model, executor: Any) -> None:
    fact = "Maria is 31 years old and lives in Lisbon."
    asked = {
        f"Extract JSON: {fact}": Person("Maria", 31, "Lisbon"),
        f"Extract JSON with city and name: {fact}": Resident("Lisbon", "Maria"),
        f"Give me JSON with city, age and name: {fact}": Reversed("Lisbon", 31, "Maria"),
    }
    with Pool(tiny, executor=executor, workers=1, slots=4, threads=1) as pool:
        for question, person in asked.items():
            reply = pool.chat(question, response_format=type(person), temperature=0)
            assert reply.parsed == person
            assert list(json.loads(reply.answer)) == list(vars(person))


def test_the_schema_decides_where_question_and_schema_differ(pool: Pool) -> None:
    """The answer has the schema's keys, whatever the model would have written."""
    question = "Extract JSON with name and age: Omar, 44, lives in Quito."
    assert pool.chat(question, temperature=0).answer == '{"name": "Omar", "age": 44}'
    reply = pool.chat(question, response_format=Reversed, temperature=0)
    assert reply.parsed == Reversed("Quito", 44, "Omar")
