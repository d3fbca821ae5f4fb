"""The codec: data survives, nothing else travels, and what is to travel needs no list."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args

import pytest

from poolinfer import Chat, Embed, Raw, Request, Response, Usage
from poolinfer._checks.normalize import normalize
from poolinfer._data.constraint import Constraint
from poolinfer._data.events import Event, Failed, Job
from poolinfer._wire import codec
from poolinfer._wire.codec import WireError, decode, encode, register
from poolinfer._wire.frames import FromWorker, FromZygote, ToWorker, ToZygote
from poolinfer._wire.type_check import conforms


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(codec, "_TYPES", dict(codec._TYPES))
    monkeypatch.setattr(codec, "_FIELDS", dict(codec._FIELDS))


@pytest.mark.parametrize("alias", [Request, Event, ToWorker, FromWorker, ToZygote, FromZygote])
def test_every_member_of_an_alias_travels(alias: Any) -> None:
    assert all(member in codec._FIELDS for member in get_args(alias))


def test_what_a_field_holds_travels_too(tables: None) -> None:
    @dataclass(frozen=True)
    class Inner:
        number: int = 0

    @dataclass(frozen=True)
    class Outer:
        inner: Any

    # Annotations of classes inside a function cannot be looked up by name.
    Outer.__annotations__["inner"] = dict[str, tuple[Inner | None, ...]]
    register(list[Outer])
    said = Outer({"a": (Inner(3), None, Inner())})
    assert decode(encode(said)) == said


def test_two_classes_of_one_name_are_refused(tables: None) -> None:
    @dataclass(frozen=True)
    class Chunk:
        text: str = ""

    with pytest.raises(TypeError, match="two classes that travel are called Chunk"):
        register(Chunk)


@pytest.mark.parametrize(
    "request_", [Chat("a", stop=("b",)), Raw("a", logit_bias={3: 1.5}), Embed(("a", "b"))]
)
def test_a_field_with_its_default_takes_no_room(request_: Any) -> None:
    written = json.loads(encode(Job(1, request_)))["request"]
    plain = {item.name for item in fields(request_) if getattr(request_, item.name) == item.default}
    assert not plain & written.keys()
    assert decode(encode(Job(1, request_))) == Job(1, request_)


@pytest.mark.parametrize(
    "value", [0, 0.0, False, 1, 1.0, True, "", "\ud7ff\0", b"\0\xff", None, (), ((1,), {}), 2**70]
)
def test_plain_data_keeps_its_type(value: Any) -> None:
    found = decode(encode(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, float("nan"), float("inf"), len, ValueError("x")])
def test_what_is_not_plain_data_is_refused(value: Any) -> None:
    with pytest.raises(WireError, match="cannot encode"):
        encode(Failed("EngineError", "", {"value": value}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"-Infinity",
        b'{"a":1}',
        b'{"!":"object"}',
        b'{"!":"Usage","no_such_field":1}',
        b'{"!":["Usage"]}',
        b'{"!b":"a"}',
        b'{"!m":[[1]]}',
        b'{"!m":[[[1],{"!m":[]}],[{"!m":[]},1]]}',
        b"[" * 100_000,
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="cannot decode"):
        decode(data)


def test_only_data_is_registered() -> None:
    """What arrives can name a class, and gets an object of it: so each of them is plain data and does nothing."""
    for cls in codec._FIELDS:
        assert is_dataclass(cls)
        assert cls.__module__.startswith("poolinfer")
        assert not hasattr(cls, "__post_init__")
    assert codec._TYPES.keys() == {cls.__name__ for cls in codec._FIELDS}


def test_a_response_survives() -> None:
    said = Response("text", "text", usage=Usage(1, 0, 2))
    assert decode(encode(said)) == said


@pytest.mark.parametrize(
    "options",
    [
        {"response_format": {"type": "object", "properties": {"ä": {"const": "\0"}}}},
        {"response_format": {"type": "json_object"}, "strict": False},
        {"response_format": list[int]},
        {"regex": "[ä\n]+"},
        {"choices": ["a", "\U0001f600"]},
        {"grammar": 'root ::= "\\n"'},
    ],
    ids=str,
)
def test_what_an_answer_is_held_to_travels(options: Any) -> None:
    request = normalize(Chat("a", **options))
    assert decode(encode(Job(1, request))) == Job(1, request)
    assert conforms(request.constraint, Constraint)  # type: ignore[union-attr]


def test_a_type_does_not_travel() -> None:
    with pytest.raises(WireError, match="cannot encode: type is not plain data"):
        encode(Job(1, Chat("a", response_format=int)))
