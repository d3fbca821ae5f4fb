"""Tools (F-55): names, sizes, depth, and data that has no end."""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import pytest
from refusals import label, refusal

from poolinfer._checks.normalize import normalize
from poolinfer._checks.refusals import show
from poolinfer._data.requests import Chat
from poolinfer._wire.codec import decode, encode

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


def nested(depth: int, kind: str) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = {"a": found} if kind == "dict" else [found]
    return found


def shared(depth: int) -> Any:
    found: Any = [1]
    for _ in range(depth):
        found = [found] * 8
    return found


ENDLESS: dict[str, Any] = {}
ENDLESS["a"] = ENDLESS


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        (5, "tools"),
        ("f", "tools"),
        ([5], "tools[0]"),
        ([{}], "tools[0].function"),
        ([{"type": "web"}], "tools[0].type"),
        ([{"type": "function"}], "tools[0].function"),
        ([tool(name="")], "tools[0].function.name"),
        ([tool(name="a b")], "tools[0].function.name"),
        ([tool(name="f\n")], "tools[0].function.name"),
        ([tool(name="x" * 65)], "tools[0].function.name"),
        ([tool(name=5)], "tools[0].function.name"),
        ([tool(description=5)], "tools[0].function.description"),
        ([tool(parameters=[])], "tools[0].function.parameters"),
        ([tool(strict=5)], "tools[0].function.strict"),
        ([tool(extra=1)], "tools[0].function"),
        ([{**TOOL, "extra": 1}], "tools[0]"),
        ([TOOL, TOOL], "tools[1].function.name"),
        ([tool(name=f"f{i}") for i in range(129)], "tools"),
        ([tool(parameters={"a": math.nan})], "tools[0].function.parameters"),
        ([tool(parameters={"a": 10**5000})], "tools[0].function.parameters"),
        ([tool(parameters={"a": {1}})], "tools[0].function.parameters"),
        ([tool(parameters={1: 1})], "tools[0].function.parameters"),
        ([tool(parameters={str(i): i for i in range(10**5)})], "tools[0].function.parameters"),
        ([tool(parameters={"a": [None] * 10**5})], "tools[0].function.parameters"),
        ([tool(parameters={"a": nested(200_000, "list")})], "tools[0].function.parameters"),
        ([tool(parameters=nested(33, "dict"))], "tools[0].function.parameters"),
        ([tool(parameters={"a": shared(20)})], "tools[0].function.parameters"),
        ([tool(parameters=ENDLESS)], "tools[0].function.parameters"),
        ([tool(description="x" * 262_145)], "tools[0].function.description"),
    ],
    ids=label,
)
def test_F55_tools(tools: Any, field: str) -> None:
    began = time.thread_time()
    assert refusal(Chat("x", tools=tools)).field == field
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            Chat("x", tools=[{"name": "f", "parameters": {"type": "object"}}]),
            "tools[0] has the key 'name': use {'type': 'function', 'function': {...}}",
        ),
        (
            Chat("x", tools=[{"type": "function", "name": "f"}]),
            "tools[0] has the key 'name': use {'type': 'function', 'function': {...}}",
        ),
        (
            Chat([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}]),
            "messages[0].tool_calls[0] has the key 'name': use {'type': 'function', 'function': {...}}",
        ),
        (
            Chat("x", tools=[{**TOOL, "extra": 1}]),
            "tools[0] has the key 'extra': leave it out; only function, ",
        ),
        (
            Chat([{"role": "user", "content": "x", "foo": 1}]),
            "messages[0] has the key 'foo': leave it out; only ",
        ),
    ],
)
def test_a_key_that_is_not_known_is_called_a_key(request_: Chat, message: str) -> None:
    assert refusal(request_).message.startswith(message)


def test_F55_tools_pass() -> None:
    strict = tool(name="a.b-c_D9", strict=None, parameters=nested(32, "dict"))
    found = normalize(Chat("x", tools=[TOOL, strict]))
    assert isinstance(found, Chat)
    assert found.tools[1]["function"]["parameters"] == nested(32, "dict")
    assert decode(encode(found)) == found


class Sloth:
    """A value whose methods take very long: nobody may call them, not even for an error message."""

    def __repr__(self) -> str:
        raise AssertionError("nobody asks for it")

    __str__ = __len__ = __getitem__ = __iter__ = __repr__
    __format__: Any = __repr__


def lazy(base: type) -> Any:
    return type("Lazy", (Sloth, base), {})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 10**7, "'" + "x" * 59 + "..."),
        (lazy(str)("x" * 10**7), "'" + "x" * 59 + "..."),
        (lazy(str)("a\ud800"), "'a\\ud800'"),
        (b"x" * 10**7, "b'" + "x" * 58 + "..."),
        (bytearray(b"x" * 10**7), "bytearray(b'" + "x" * 48 + "..."),
        (lazy(bytes)(b"x"), "b'x'"),
        (memoryview(b"x"), "a memoryview"),
        (nested(50_000, "list"), "[[[[...]]]]"),
        (dict.fromkeys(range(10**5)), "a dict of 100000 items"),
        ([dict.fromkeys(range(10**5))], "[a dict of 100000 items]"),
        ({"a": b"x" * 10**7}, "{'a': b'" + "x" * 52 + "..."),
        (lazy(dict)(a=1), "a Lazy of 1 items"),
        (lazy(list)([1, 2]), "a Lazy of 2 items"),
        (lazy(tuple)("ab"), "a Lazy of 2 items"),
        (set(range(10**6)), "a set"),
        ([Sloth()] * 99, "[a Sloth, a Sloth, a Sloth, a Sloth, a Sloth, a Sloth, ...]"),
        (object(), "an object"),
        (lazy(int)(5), "5"),
        (lazy(float)(0.5), "0.5"),
        (10**9999, "a huge int"),
        (10**1_000_000, "a huge int"),
        (10**300, "1000000000000000000000000000...00000000000000000000000000000"),
        (True, "True"),
        (None, "None"),
    ],
    ids=range(24),
)
def test_F43_values_are_shown_in_part_and_at_a_bounded_cost(value: Any, shown: str) -> None:
    tracemalloc.start()
    try:
        assert show(value) == shown
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert len(shown) <= 64


def call(call_id: Any = None, name: str = "f") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def asks(*ids: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call(name) for name in ids]}


def answers(call_id: Any = None) -> dict[str, Any]:
    return {"role": "tool", "content": "5", "tool_call_id": call_id}


@pytest.mark.parametrize(
    ("turns", "field", "words"),
    [
        ([asks("a"), answers("b")], "messages[1].tool_call_id", "before it: 'a'"),
        ([asks("a", "b"), answers("a"), answers("c")], "messages[2].tool_call_id", "before it: 'b'"),
        ([asks(*"abcde"), answers("x")], "messages[1].tool_call_id", "'a', 'b', 'c' and 2 more"),
        ([answers("a"), asks("a"), answers("a")], "messages[0].tool_call_id", "put the assistant message"),
        ([{"role": "user", "content": "hi"}, answers("a")], "messages[1].tool_call_id", "put the assistant"),
        ([asks(None), answers("x"), asks("a"), answers("x")], "messages[3].tool_call_id", "before it: 'a'"),
        ([asks("a", "a"), answers("a")], "messages[0].tool_calls[1].id", "an id of its own"),
        # Without ids, too, an answer needs a call.
        ([answers()], "messages[0].role", "put the assistant message with its tool call before it"),
        ([answers(""), asks("a"), answers("a")], "messages[0].role", "put the assistant message"),
        ([asks(None), answers(), answers()], "messages[2].role", "put the assistant message"),
        ([asks("a"), answers("a"), answers()], "messages[2].role", "put the assistant message"),
        ([asks("a"), answers("a"), answers("a")], "messages[2].tool_call_id", "one tool message for each"),
        ([asks("a", "b"), answers("a"), answers("a")], "messages[2].tool_call_id", "one tool message for"),
        ([asks(None), answers("x"), answers("x")], "messages[2].tool_call_id", "put the assistant message"),
    ],
)
def test_F40_an_answer_to_a_tool_call_that_nobody_made(turns: Any, field: str, words: str) -> None:
    error = refusal(Chat(turns))
    assert error.field == field
    assert words in error.message


@pytest.mark.parametrize(
    "turns",
    [
        [asks("a", "b"), answers("b"), answers("a")],
        [asks("call_0"), answers("call_0"), asks("call_0"), answers("call_0")],
        [asks("a"), asks("b"), answers("a"), answers("b")],
        # Some clients and models give no ids, or empty ones: the order says what belongs together.
        [asks(None, None), answers(), answers()],
        [asks("", ""), answers(""), answers("")],
        [asks(None), answers("made_up")],
        [asks("a"), answers()],
        [asks("a", None), answers(), answers("a")],
        [asks(None, None), answers("x"), answers("x")],
        [asks("a"), answers("a"), asks(None), answers("a")],
        # A user went on without an answer.
        [asks("a"), {"role": "user", "content": "hi"}],
    ],
)
def test_tool_call_ids_that_nothing_contradicts(turns: Any) -> None:
    assert normalize(Chat(turns))


def test_a_strict_tool_is_not_told_of_the_strict_of_requests():
    schema = {"type": "array", "uniqueItems": True}
    assert "or 'strict' of the function" in str(
        refusal(Chat("x", tools=[tool(strict=True, parameters=schema)]))
    )


def test_a_python_function_is_sent_to_a_session():
    assert "pool.session(tools=" in str(refusal(Chat("x", tools=[len])))
