"""What may enter a pool (F-40..F-43, F-47, F-55, F-61): shapes of requests."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from chat_turns import CALL, TOOL, USER, assistant, tool
from refusals import label, refusal

from poolinfer._checks.normalize import normalize
from poolinfer._data.errors import InvalidRequest
from poolinfer._data.events import Job
from poolinfer._data.prompt_builder import Prompt
from poolinfer._data.requests import Chat, Raw
from poolinfer._data.results import Response, ToolCall
from poolinfer._data.text_requests import Embed
from poolinfer._wire.codec import decode, encode

#: A key that is no text, as JSON cannot have it.
ODD_KEY: dict[Any, Any] = {5: 5}


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        ("", "prompt"),
        (None, "prompt"),
        (5, "prompt"),
        (b"hi", "prompt"),
        ({"role": "user", "content": "hi"}, "prompt"),
        (iter([USER]), "prompt"),
        ([], "messages"),
        (Prompt(), "messages"),
        (Prompt(5), "prompt"),  # type: ignore[arg-type]
        (Prompt((5,)), "prompt"),  # type: ignore[arg-type]
        (Prompt(((5, 5),)), "messages[0].role"),  # type: ignore[arg-type]
        ([None], "messages[0]"),
        (["hi"], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"content": "hi"}], "messages[0].role"),
        ([{"role": "root", "content": "hi"}], "messages[0].role"),
        ([{"role": ["user"], "content": "hi"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([USER, {"role": "user", "content": 5}], "messages[1].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "assistant", "content": None}], "messages[0].content"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], "messages[0].content"),
        ([{"role": "user", "content": ""}], "messages"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": ["hi"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "messages[0].content[0].text"),
        ([{**USER, "audio": {"id": "x"}}], "messages[0]"),
        ([{**USER, **ODD_KEY}], "messages[0]"),
        ([{**USER, "name": 5}], "messages[0].name"),
        ([{**USER, "tool_calls": [CALL]}], "messages[0].tool_calls"),
        ([USER, {"role": "assistant", "content": "so"}], "messages[1].role"),
        (assistant(tool_calls=5), "messages[0].tool_calls"),
        (assistant(tool_calls=[5]), "messages[0].tool_calls[0]"),
        (assistant(tool_calls=[{"type": "x"}]), "messages[0].tool_calls[0].type"),
        (assistant(tool_calls=[{}]), "messages[0].tool_calls[0].function"),
        (assistant(tool_calls=[tool(name="")]), "messages[0].tool_calls[0].function.name"),
        (assistant(tool_calls=[tool(arguments="{")]), "messages[0].tool_calls[0].function.arguments"),
        (assistant(tool_calls=[tool(arguments="[1]")]), "messages[0].tool_calls[0].function.arguments"),
        (assistant(tool_calls=[tool(arguments="[" * 10**5)]), "messages[0].tool_calls[0].function.arguments"),
        (
            assistant(tool_calls=[tool(arguments='{"a":1,"a":2}')]),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (assistant(tool_calls=[tool(arguments='{"a":NaN}')]), "messages[0].tool_calls[0].function.arguments"),
    ],
    ids=label,
)
def test_F40_messages_shapes(prompt: Any, field: str) -> None:
    assert refusal(Chat(prompt)).field == field


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Prompt.user(5), "content is of type int: use a str"),  # type: ignore[arg-type]
        (lambda: Prompt.user("x").system(None), "content is of type NoneType: use a str"),  # type: ignore[arg-type]
        (lambda: Prompt.assistant(b"x"), "content is of type bytes: use a str or a Response"),  # type: ignore[arg-type]
        (lambda: Prompt.tool({}, "a"), "content is of type dict: use a str"),  # type: ignore[arg-type]
        (lambda: Prompt.tool("x", 5), "call_id is of type int: use a str"),  # type: ignore[arg-type]
    ],
)
def test_a_turn_of_a_prompt_that_is_no_text_is_refused_when_it_is_built(build: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build()
    assert caught.value.message == message
    assert caught.value.field == message.split()[0]


@pytest.mark.parametrize("request_", [None, "hi", 5, Chat, object(), {"prompt": "hi"}])
def test_F40_unknown_requests(request_: Any) -> None:
    assert refusal(request_).field == "request"


@pytest.mark.parametrize("prompt", ["", None, 5, b"x", ["hi"]])
def test_F40_raw_prompts(prompt: Any) -> None:
    assert refusal(Raw(prompt)).field == "prompt"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "no tool"}}}, "tool_choice.function.name"),
        ({"logprobs": 1}, "logprobs"),
        ({"cache_key": ""}, "cache_key"),
        ({"cache_key": 5}, "cache_key"),
        ({"cache_key": b"tenant"}, "cache_key"),
        ({"cache_key": "k" * 257}, "cache_key"),
        ({"cache_key": "\u20ac" * 86}, "cache_key"),
        ({"cache_key": "\ud800"}, "cache_key"),
    ],
)
def test_F40_options(options: dict[str, Any], field: str) -> None:
    assert refusal(Chat("hi", **options)).field == field


def test_F40_normal_form() -> None:
    prompt: list[dict[str, Any]] = [
        {
            "role": "developer",
            "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}],
        },
        {"role": "user", "content": "hi", "name": "bob", "refusal": None},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "function_call": None},
        {"role": "tool", "content": "", "tool_call_id": "c1"},
    ]
    found = normalize(
        Chat(prompt, stop="x", tools=[TOOL], temperature=1, top_logprobs=2, cache_key="k" * 256)
    )
    assert isinstance(found, Chat)
    arguments = {"a": (1, {"b": None})}
    assert found.prompt == (
        {
            "role": "developer",
            "content": ({"type": "text", "text": "be "}, {"type": "text", "text": "brief"}),
        },
        {"role": "user", "content": "hi", "name": "bob"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": (
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}},
            ),
        },
        {"role": "tool", "content": "", "tool_call_id": "c1"},
    )
    assert found.stop == ("x",)
    assert found.tools == (TOOL,)
    assert found.logprobs
    assert type(found.temperature) is float
    assert normalize(found) == found
    assert decode(encode(Job(1, found))) == Job(1, found)


def test_F40_prompt_kinds_agree() -> None:
    message = {"role": "user", "content": "hi"}
    wanted = normalize(Chat("hi"))
    assert wanted == normalize(Chat(Prompt.user("hi"))) == normalize(Chat((message,)))
    assert normalize(Chat(Prompt.system("only"))) == normalize(Chat([{"role": "system", "content": "only"}]))
    assert normalize(Chat(" \n"))


def test_a_reply_with_tool_calls_continues_a_conversation() -> None:
    reply = Response("..", "", "hm", (ToolCall("c1", "f", '{"a": 1}'),), "tool_calls")
    built = Prompt.user("hi").assistant(reply).tool("5", "c1").assistant("So 5.").user("More!")
    arguments = {"name": "f", "arguments": {"a": 1}}
    wanted = (
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": ({"id": "c1", "type": "function", "function": arguments},),
        },
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
        {"role": "assistant", "content": "So 5."},
        {"role": "user", "content": "More!"},
    )
    found = normalize(Chat(built))
    assert isinstance(found, Chat)
    assert found.prompt == wanted
    message = reply.to_openai()["choices"][0]["message"]
    same = normalize(Chat([wanted[0], message, *wanted[2:]]))
    assert isinstance(same, Chat)
    assert same.prompt == wanted
    assert hash(built) == hash(pickle.loads(pickle.dumps(built)))


def test_F40_copies_are_private() -> None:
    parameters = {"required": ["a"]}
    message = dict(USER)
    found = normalize(Chat([message], tools=[tool(parameters=parameters)]))
    assert isinstance(found, Chat)
    parameters["required"].append("b")
    message["content"] = "changed"
    assert found.tools == (tool(parameters={"required": ("a",)}),)
    assert found.prompt == (USER,)


def test_F40_subclasses_of_str_become_str() -> None:
    class Markup(str):
        def __add__(self, other: str) -> str:
            return "escaped"

    found = normalize(Chat([{"role": "user", "content": Markup("hi")}]))
    assert isinstance(found, Chat)
    assert isinstance(found.prompt, tuple)
    assert type(found.prompt[0]["content"]) is str


@pytest.mark.parametrize("request_", [Raw("a\0b", stop=["\0"]), Chat("a\0b", stop="\0"), Embed("a\0")])
def test_F41_nul_passes(request_: Any) -> None:
    found = normalize(request_)
    assert decode(encode(Job(1, found))) == Job(1, found)
    assert "\0" in repr(found).replace("\\x00", "\0")


BAD = "a\ud800b"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Raw(BAD), "prompt"),
        (Chat(BAD), "prompt"),
        (Chat("x", stop=BAD), "stop[0]"),
        (Chat([{"role": "user", "content": BAD}]), "messages[0].content"),
        (Chat([{"role": "user", "content": [{"type": "text", "text": BAD}]}]), "messages[0].content[0].text"),
        (Chat([{**USER, "name": BAD}]), "messages[0].name"),
        (Chat([{**USER, BAD: 1}]), "messages[0]"),
        (Chat("x", tools=[tool(description=BAD)]), "tools[0].function.description"),
        (Chat("x", tools=[tool(parameters={BAD: 1})]), "tools[0].function.parameters"),
        (Chat("x", tools=[tool(name=BAD)]), "tools[0].function.name"),
        (
            Chat(assistant(tool_calls=[tool(arguments='{"a": "\\ud800"}')])),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (Embed(["ok", BAD]), "input[1]"),
    ],
)
def test_F42_surrogates(request_: Any, field: str) -> None:
    assert refusal(request_).field == field


@pytest.mark.parametrize("text", ["\ufeffhi", "\U0001f600", "e" + "\u0301" * 2000, "\U0010ffff"])
def test_F42_odd_text_passes(text: str) -> None:
    assert normalize(Raw(text)) == Raw(text)


@pytest.mark.parametrize(
    ("stop", "field"),
    [
        ("", "stop[0]"),
        (["ok", ""], "stop[1]"),
        (5, "stop"),
        ({"a": 1}, "stop"),
        ([5], "stop[0]"),
        (["x"] * 17, "stop"),
        (["x"] * 10_000, "stop"),
        ("x" * 257, "stop[0]"),
        ("\u00e9" * 129, "stop[0]"),
        ("x" * 1_000_000, "stop[0]"),
    ],
    ids=label,
)
def test_F47_stop(stop: Any, field: str) -> None:
    assert refusal(Raw("x", stop=stop)).field == field


def test_F47_stop_passes() -> None:
    texts = ["a", "ab", "x" * 256, *"0123456789"]
    found = normalize(Raw("x", stop=texts))
    assert isinstance(found, Raw)
    assert found.stop == tuple(texts)
    assert normalize(Raw("x")) == Raw("x")


@pytest.mark.parametrize(
    ("given_", "field"),
    [
        ("", "input"),
        ([], "input"),
        (None, "input"),
        (5, "input"),
        ([""], "input[0]"),
        (["a", None], "input[1]"),
        (["a", [1, 2]], "input[1]"),
        (["x"] * 4097, "input"),
        (["x"] * 10**5, "input"),
        (["x" * 2**20] * 5, "input[4]"),
    ],
    ids=label,
)
def test_F61_embed_inputs(given_: Any, field: str) -> None:
    assert refusal(Embed(given_)).field == field


def test_F61_embed_passes() -> None:
    assert normalize(Embed("a")) == Embed("a")
    assert normalize(Embed(["a", "b"], pooling="cls", normalize=True)) == Embed(
        ("a", "b"), pooling="cls", normalize=True
    )
    assert refusal(Embed("a", pooling="rank")).field == "pooling"  # type: ignore[arg-type]
    assert refusal(Embed("a", pooling=["mean"])).field == "pooling"  # type: ignore[arg-type]
    assert refusal(Embed("a", normalize=1)).field == "normalize"  # type: ignore[arg-type]
