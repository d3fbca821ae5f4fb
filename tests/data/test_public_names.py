"""Public classes say where they are imported from, and everything that reads their annotations goes on working."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import pickletools
import pydoc
import typing
from typing import Any

import pytest

import poolinfer
import poolinfer.executor
import poolinfer.testing
from poolinfer._data.public_names import publish

MODULES = poolinfer, poolinfer.executor, poolinfer.testing
CLASSES = {
    value: module.__name__
    for module in reversed(MODULES)
    for value in (getattr(module, name) for name in module.__all__)
    # A generic alias of Python 3.10 says that it is a type.
    if isinstance(value, type) and value.__module__.startswith("poolinfer")
}
DATA: list[Any] = [cls for cls in CLASSES if dataclasses.is_dataclass(cls)]
SAMPLES: dict[type, Any] = {
    type(sample): sample
    for sample in (
        poolinfer.Chat([{"role": "user", "content": "hello"}], stop=["."], logit_bias={3: -1.0}),
        poolinfer.Raw("hello", max_tokens=3),
        poolinfer.Embed(["a", "b"], pooling="mean"),
        poolinfer.Rerank("a", ["b", "c"], top_n=1),
        poolinfer.Tokenize("a", parse_special=True),
        poolinfer.Detokenize([1, 2], special=True),
        poolinfer.ApplyTemplate([{"role": "user", "content": "hello"}]),
        poolinfer.RankedDocument(1, 0.5, "b"),
        poolinfer.AppliedTemplate("a", (1,)),
        poolinfer.Prompt.system("Be brief.").user("hello"),
        poolinfer.Response("a", "b", tool_calls=(poolinfer.ToolCall("call_1", "sum", "{}"),)),
        poolinfer.Embedding(b"\0\0\x80?" * 3, prompt_tokens=2),
        poolinfer.PoolStats(ttft=poolinfer.Quantiles(0.1, 0.2, 0.3)),
        poolinfer.executor.Constraint("regex", "[a-z]+"),
        poolinfer.executor.Job(1, poolinfer.Raw("hello")),
        poolinfer.executor.Done(poolinfer.Response("a")),
        poolinfer.executor.Failed.of(poolinfer.PoolFull("full", retry_after=3.0)),
        poolinfer.executor.Process(max_workers=3, idle_timeout=4.0),
        poolinfer.executor.ModelSpec("a.gguf", (1, 2, 3, 4)),
        poolinfer.executor.LoraSpec(poolinfer.executor.FileSpec("b.gguf", (1, 2, 3, 4)), 0.5),
        poolinfer.executor.FileSpec("b.gguf", (1, 2, 3, 4)),
        poolinfer.executor.RopeSpec(rope_freq_scale=0.25),
    )
}
#: Objects of all public classes but those of what runs here, or has to be derived from.
PICKLED: dict[type, Any] = {
    **SAMPLES,
    **{cls: cls("wrong") for cls in CLASSES if issubclass(cls, poolinfer.PoolinferError)},
    **{
        type(sample): sample
        for sample in (
            poolinfer.Chunk("a", "b"),
            poolinfer.DoneAndNotDone(set(), set()),
            poolinfer.Model.load(poolinfer.demo_model()).info,
            poolinfer.Quantiles(0.1, 0.2, 0.3),
            poolinfer.Sampling(top_k=3),
            poolinfer.Score((poolinfer.TokenLogprob(1, "a", -0.5),)),
            poolinfer.Timings(),
            poolinfer.TokenLogprob(1, "a", -0.5),
            poolinfer.RunStep(poolinfer.Response("a")),
            poolinfer.ToolCall("call_1", "sum", "{}"),
            poolinfer.ToolCallDelta(0, "call_1", "sum", "{"),
            poolinfer.ToolResult(poolinfer.ToolCall("call_1", "sum", "{}"), "3"),
            poolinfer.ToolRun((poolinfer.RunStep(poolinfer.Response("a")),)),
            poolinfer.Prompt.assistant(poolinfer.Response("hello")).turns[0],
            poolinfer.Usage(),
            poolinfer.executor.DocumentScore(0.5),
            poolinfer.executor.ExecutorStats(memory=(1, 2)),
            poolinfer.executor.LaneSpec(),
            poolinfer.executor.Prefork(),
            poolinfer.executor.Started(),
            poolinfer.executor.Thread(workers=2),
        )
    },
}
NOT_PICKLED: set[type] = {
    *(poolinfer.AsCompleted, poolinfer.Call, poolinfer.Model, poolinfer.Pool, poolinfer.Session),
    *(poolinfer.executor.Description, poolinfer.executor.Executor),
    *(poolinfer.testing.ExecutorContract, poolinfer.testing.FakeEngine, poolinfer.testing.FakeExecutor),
    poolinfer.testing.Held,
}
#: What JSON gives back as it was: it has no tuples where a field may have any sequence, and no bytes.
BUILT = [poolinfer.Response, poolinfer.PoolStats, poolinfer.executor.Done, poolinfer.executor.Process]


def name(cls: type) -> str:
    return cls.__name__


def is_resolved(hint: Any) -> bool:
    """Whether a type has no text in it that somebody would have to look up."""
    if isinstance(hint, str | typing.ForwardRef):
        return False
    return typing.get_origin(hint) is typing.Literal or all(map(is_resolved, typing.get_args(hint)))


@pytest.mark.parametrize("cls", CLASSES, ids=name)
def test_a_public_class_says_where_it_is_imported_from(cls: Any) -> None:
    assert cls.__module__ == CLASSES[cls]
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert repr(cls) == f"<class '{CLASSES[cls]}.{cls.__name__}'>"


@pytest.mark.parametrize("cls", CLASSES, ids=name)
def test_annotations_need_no_lookup(cls: Any) -> None:
    own = vars(cls).get("__annotations__", {})
    hints = typing.get_type_hints(cls, include_extras=True)
    assert own == {name: hints[name] for name in own}
    assert all(map(is_resolved, hints.values()))


@pytest.mark.parametrize("cls", DATA, ids=name)
def test_fields_have_types(cls: Any) -> None:
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        assert field.type == hints[field.name]


@pytest.mark.parametrize("cls", DATA, ids=name)
def test_signatures_can_be_resolved(cls: Any) -> None:
    hints = typing.get_type_hints(cls)
    parameters = inspect.signature(cls, eval_str=True).parameters
    assert list(parameters) == [
        field.name for field in sorted(dataclasses.fields(cls), key=lambda f: f.kw_only)
    ]
    for parameter in parameters.values():
        assert parameter.annotation == hints[parameter.name]


@pytest.mark.parametrize("cls", SAMPLES, ids=name)
def test_data_is_copied_and_pickled(cls: Any) -> None:
    sample = SAMPLES[cls]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(sample, protocol)
        assert pickle.loads(data) == sample
    assert copy.copy(sample) == copy.deepcopy(sample) == dataclasses.replace(sample) == sample


def test_every_public_class_is_pickled_or_known_not_to_be() -> None:
    assert set(CLASSES) == {*PICKLED, *NOT_PICKLED}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", PICKLED, ids=name)
def test_a_pickle_names_no_private_file(cls: Any, protocol: int) -> None:
    said = [str(argument) for _, argument, _ in pickletools.genops(pickle.dumps(PICKLED[cls], protocol))]
    assert any(text.startswith("poolinfer") for text in said)
    assert [text for text in said if "poolinfer._" in text] == []


@pytest.mark.parametrize("cls", CLASSES, ids=name)
def test_help(cls: Any) -> None:
    text = pydoc.plain(pydoc.render_doc(cls))
    assert f"{cls.__name__} in module {CLASSES[cls]}" in text or f"in {CLASSES[cls]}" in text
    # What it shows of a class is never the text of another one.
    with pytest.raises(OSError, match=r"could not find class definition|source code not available"):
        inspect.getsource(cls)


@pytest.mark.parametrize("cls", SAMPLES, ids=name)
def test_pydantic_takes_and_gives_data(cls: Any) -> None:
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(cls)
    sample = SAMPLES[cls]
    assert adapter.validate_python(sample) == sample
    schema = adapter.json_schema()
    # One that holds others of its own class is defined by a name.
    assert schema.get("$defs", {}).get(cls.__name__, schema)["title"] == cls.__name__


@pytest.mark.parametrize("cls", BUILT, ids=name)
def test_pydantic_rebuilds_data_from_json(cls: Any) -> None:
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(cls)
    assert adapter.validate_json(adapter.dump_json(SAMPLES[cls])) == SAMPLES[cls]


def test_a_class_of_a_caller_derives_from_a_public_one() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Tagged(poolinfer.Response):
        tag: str = ""

    assert typing.get_type_hints(Tagged)["usage"] is poolinfer.Usage
    assert Tagged("a", tag="b").tag == "b"


def test_what_another_package_made_is_left_alone() -> None:
    publish("poolinfer", dict, len, "text")
    assert dict.__module__ == "builtins"
