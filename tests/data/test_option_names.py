"""Options as other clients write them: unknown ones, None, numpy's numbers, and what errors are called."""

from __future__ import annotations

import inspect
import pickle
import traceback
from dataclasses import fields, replace
from typing import Any, get_args

import pytest

import poolinfer
from poolinfer import Chat, Embed, InvalidRequest, Model, Pool, Raw, UnknownOption, demo_model
from poolinfer._checks.budgets import WorkBudget
from poolinfer._checks.normalize import _contents, _options, normalize
from poolinfer._data.option_names import _ELSEWHERE, _NO_CHANGE, _OWNERS, scalar
from poolinfer.testing import FakeExecutor

LOAD = "Model.load"


@pytest.mark.parametrize(
    ("what", "option", "words"),
    [
        ("Chat", "max_completion_tokens", "use max_tokens"),
        ("Chat", "n_predict", "use max_tokens"),
        ("Raw", "n_predict", "use max_tokens"),
        ("Chat", "repetition_penalty", "use repeat_penalty"),
        ("Chat", "functions", "use tools"),
        ("Chat", "function_call", "use tool_choice"),
        ("Chat", "stop_sequences", "use stop"),
        ("Chat", "stream", "use stream("),
        ("Chat", "guided_json", "use response_format"),
        ("Chat", "json_schema", "use response_format"),
        ("Raw", "format", "use response_format"),
        ("Raw", "guided_regex", "use regex"),
        ("Chat", "guided_choice", "use choices"),
        ("Chat", "guided_grammar", "use grammar"),
        ("Chat", "structured_outputs", "use response_format"),
        ("Chat", "text_format", "use response_format"),
        ("Chat", "max_thinking_tokens", "use reasoning_budget"),
        ("Chat", "do_sample", "give temperature=0"),
        ("Embed", "response_format", "response_format is an option of Chat and Raw"),
        ("Chat", "store", "leave it out"),
        ("Chat", "min_new_tokens", "use min_tokens"),
        ("Chat", "system", "put a system message into prompt"),
        ("Chat", "message", "use prompt"),
        ("Chat", "messages", "use prompt"),
        ("Chat", "template_kwargs", "use chat_template_kwargs"),
        ("Raw", "chat_template_kwargs", "is an option of ApplyTemplate, Chat and Model.load"),
        ("Chat", "enable_thinking", "use reasoning"),
        ("Chat", "add_generation_prompt", "continue_final_message=True"),
        ("Chat", "extra_body", "by itself"),
        ("Chat", "penalty_last_n", "use repeat_last_n"),
        ("Raw", "mirostat_mode", "use mirostat"),
        ("Raw", "tfs_z", "leave it out"),
        ("Chat", "on_token", "use stream("),
        ("Raw", "callback", "use stream("),
        ("Pool", "embedding", "call embed(...)"),
        ("Chat", "temprature", "did you mean temperature?"),
        ("Chat", "n_threads", "threads is an option of Pool"),
        ("Chat", "n_ctx", "n_ctx is an option of "),
        ("Chat", "input", "input is an option of Embed"),
        ("Raw", "tools", "tools is an option of ApplyTemplate and Chat"),
        ("Raw", "prompt_cache_key", "use cache_key"),
        ("Embed", "temperature", "temperature is an option of Chat and Raw"),
        ("Embed", "output_dimensionality", "use dimensions"),
        ("Embed", "prompt_name", "use input_type"),
        ("Rerank", "return_documents", "leave it out"),
        ("Rerank", "truncation", "use truncate"),
        ("Tokenize", "add_bos", "use add_special"),
        ("Embed", "quite_another_thing", "it has dimensions, "),
        ("Pool", "n_threads", "use threads"),
        ("Pool", "n_parallel", "use slots"),
        ("Pool", "flash_attn", "use flash_attention"),
        ("Pool", "chat_template", f"chat_template is an option of {LOAD}"),
        ("Pool", "max_tokens", "max_tokens is an option of Chat and Raw"),
        ("Pool", "worker", "did you mean workers?"),
        (LOAD, "use_mmap", "use mmap"),
        (LOAD, "n_threads", "threads is an option of Pool"),
        (LOAD, "gpu_layers", "use n_gpu_layers"),
    ],
)
def test_an_unknown_option_names_the_right_one(what: str, option: str, words: str) -> None:
    made: Any = Model.load if what == LOAD else getattr(poolinfer, what)
    with pytest.raises(UnknownOption) as caught:
        made(demo_model(), **{option: 5})
    assert f"{what} has no option {option!r}: " in str(caught.value)
    assert words in str(caught.value)
    assert caught.value.field == option
    assert isinstance(caught.value, InvalidRequest)
    assert isinstance(caught.value, TypeError)


def test_F43_a_long_name_of_an_unknown_option_is_cut_before_anything_compares_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[str] = []

    def matches(name: str, *_args: object) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr("poolinfer._data.option_names.get_close_matches", matches)
    options: dict[str, Any] = {"x" * 1_000_000: 1}
    with pytest.raises(UnknownOption) as caught:
        Chat("a", **options)
    assert compared == [caught.value.field] == ["x" * 40]


def test_unknown_options_of_every_call_are_named() -> None:
    options: dict[str, Any] = {"max_completion_tokens": 5}
    with Pool(executor=FakeExecutor()) as pool:
        for call in (pool.chat, pool.raw, pool.embed, pool.stream):
            with pytest.raises(UnknownOption, match="has no option 'max_completion_tokens': "):
                call("x", **options)
        with pytest.raises(UnknownOption, match="use max_tokens"):
            list(pool.map(["x"], **options))


@pytest.mark.parametrize("cls", [Chat, Raw, Embed])
def test_options_of_other_clients_that_ask_for_nothing_are_ignored(cls: Any) -> None:
    """What OpenAI's clients and proxies send in every request."""
    names = ("response_format", "stream_options", "metadata", "user", "functions", "function_call", "store")
    nothing: dict[str, Any] = {**dict.fromkeys(names), "stream": False, "best_of": 1}
    text: dict[str, Any] = {"response_format": {"type": "text"}, "encoding_format": "float", "store": False}
    assert normalize(cls("x", **nothing)) == normalize(cls("x", **text)) == normalize(cls("x"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("stream", True, r"use stream\("),
        ("stream", 0, r"use stream\("),
        ("best_of", 2, "several answers with n"),
        ("best_of", True, "several answers with n"),
        ("guided_json", {"type": "object"}, "use response_format"),
        ("temprature", None, "did you mean temperature"),
        ("quite_another_thing", None, "it has "),
    ],
)
def test_options_of_other_clients_that_ask_for_something_are_refused(
    name: str, value: Any, words: str
) -> None:
    with pytest.raises(UnknownOption, match=words):
        Chat("x", **{name: value})


def test_every_hint_leads_somewhere() -> None:
    known = frozenset().union(*_OWNERS.values())
    requests = {getattr(kind, "__origin__", kind).__name__ for kind in get_args(poolinfer.Request)}
    assert set(_OWNERS) == {*requests, "Pool", "Thread", "Process", "Prefork", LOAD}
    for name, hint in _ELSEWHERE.items():
        assert " " in hint or hint in known, name
    assert set(_NO_CHANGE) <= set(_ELSEWHERE)


def test_a_wrapped_constructor_looks_like_its_own() -> None:
    assert next(iter(inspect.signature(Chat).parameters)) == "prompt"
    assert "temperature" in inspect.signature(Chat).parameters
    assert "slots" in inspect.signature(Pool).parameters
    assert (Pool.__init__.__kwdefaults__ or {})["max_queue"] == 1000
    assert replace(Chat("x", top_k=3), top_p=0.5) == Chat("x", top_k=3, top_p=0.5)
    assert pickle.loads(pickle.dumps(Chat("x", top_k=3))) == Chat("x", top_k=3)
    with pytest.raises(TypeError, match="prompt"):
        Chat()  # type: ignore[call-arg]


@pytest.mark.parametrize("cls", [Chat, Raw, Embed])
def test_None_is_the_default(cls: Any) -> None:
    optional = {item.name: None for item in fields(cls) if item.name not in ("prompt", "input")}
    assert normalize(cls("x", **optional)) == normalize(cls("x"))
    assert normalize(replace(cls("x"), **optional)) == normalize(cls("x"))


@pytest.mark.parametrize("cls", [Chat, Raw, Embed])
def test_no_field_of_a_request_is_left_unchecked(cls: Any) -> None:
    """A field that the check forgot would keep its default, whatever the caller gave."""
    request = cls("x")
    options = _options(request)
    found = {**options, **_contents(request, options, WorkBudget())}
    assert set(found) == {item.name for item in fields(cls)}


def test_null_keys_of_messages_are_ignored() -> None:
    """What `model_dump()` of OpenAI's SDK gives for an assistant message."""
    nothing = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
    prompt = [
        {"role": "user", "content": "hi", "name": None},
        {"role": "assistant", "content": "ho", **nothing},
        {"role": "user", "content": [{"type": "text", "text": "hi"}], "tool_call_id": None},
    ]
    plain = [
        {"role": role, "content": text}
        for role, text in (("user", "hi"), ("assistant", "ho"), ("user", "hi"))
    ]
    assert normalize(Chat(prompt)) == normalize(Chat(plain))
    with pytest.raises(
        InvalidRequest, match=r"messages\[0\] has the key 'audio': leave it out; only content, "
    ):
        normalize(Chat([{"role": "user", "content": "hi", "audio": {"id": "a"}}]))


def test_numpy_scalars_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    schema = {
        "type": "object",
        "maximum": numpy.float32(1.5),
        "minItems": numpy.int64(1),
        "x": numpy.bool_(True),
    }
    found = normalize(
        Chat(
            "x",
            temperature=numpy.float32(0.5),
            max_tokens=numpy.int64(5),
            top_k=numpy.uint8(7),
            seed=numpy.int32(3),
            logprobs=numpy.bool_(True),
            timeout=numpy.float64(2),
            logit_bias={numpy.int64(5): numpy.float16(-1)},
            tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}],
        )
    )
    assert isinstance(found, Chat)
    values = (found.temperature, found.max_tokens, found.top_k, found.seed, found.logprobs, found.timeout)
    assert values == (0.5, 5, 7, 3, True, 2.0)
    assert [type(value) for value in values] == [float, int, int, int, bool, float]
    assert found.logit_bias == {5: -1.0}
    parameters = found.tools[0]["function"]["parameters"]
    assert parameters == {"type": "object", "maximum": 1.5, "minItems": 1, "x": True}
    assert [type(value) for value in parameters.values()] == [str, float, int, bool]
    for name, value in (
        ("max_tokens", numpy.bool_(True)),
        ("max_tokens", numpy.float32(5)),
        ("temperature", numpy.float32("nan")),
        ("temperature", numpy.array([0.5])),
        ("temperature", 1j),
    ):
        with pytest.raises(InvalidRequest) as caught:
            normalize(Raw("x", **{name: value}))
        assert caught.value.field == name
    assert scalar(numpy.str_("a")) == "a"


def test_tracebacks_say_the_public_name() -> None:
    for name in poolinfer.__all__:
        cls = getattr(poolinfer, name)
        if inspect.isclass(cls) and issubclass(cls, poolinfer.PoolinferError):
            last = traceback.format_exception_only(cls, cls("odd"))[-1]
            assert last == f"poolinfer.{name}: odd\n"
            assert type(pickle.loads(pickle.dumps(cls("odd")))) is cls
