"""What may enter a pool: values of classes that say of themselves what is not so."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from refusals import refusal

from poolinfer._checks.normalize import normalize
from poolinfer._data.events import Job
from poolinfer._data.option_names import scalar
from poolinfer._data.requests import Chat, Raw
from poolinfer._data.text_requests import Embed
from poolinfer._wire.codec import decode, encode

USER = {"role": "user", "content": "hi"}


class Text(str):
    def __len__(self) -> int:
        return 1

    def isascii(self) -> bool:
        return True

    def isdigit(self) -> bool:
        return True

    def encode(self, *_args: object) -> bytes:
        return b"x"

    def __str__(self) -> str:
        return "7"


class Word(str):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("user")


class Whole(int):
    def __le__(self, other: object) -> bool:
        return True

    def __ge__(self, other: object) -> bool:
        return True

    def __int__(self) -> int:
        return 10**30

    __index__ = __int__

    def bit_length(self) -> int:
        return 1


class Real(float):
    def __le__(self, other: object) -> bool:
        return True

    def __ge__(self, other: object) -> bool:
        return True

    def __float__(self) -> float:
        return math.nan


class Endless(list[Any]):
    """A list whose `len` is 1, whatever it holds."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat("a")


class EndlessDict(dict[Any, Any]):
    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        return map(str, itertools.count())

    def __getitem__(self, key: object) -> Any:
        return None

    def items(self) -> Any:
        return ((i, 1.0) for i in itertools.count())


def raw(**options: Any) -> Raw:
    """A request whose fields have exactly these values, whatever its constructor makes of them."""
    request = Raw("x")
    for name, value in options.items():
        object.__setattr__(request, name, value)
    return request


def spoken(**function: Any) -> Chat:
    turn = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", **function}}]}
    return Chat([turn, USER])


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Raw(Text("a\ud800b")), "prompt"),
        (Raw(Text("ab " * 3_000_000)), "prompt"),
        (Chat(Text("a\ud800b")), "prompt"),
        (Chat([{"role": Word("x"), "content": "hi"}]), "messages[0].role"),
        (Embed(Text("a\ud800b")), "input"),
        (Embed("x", pooling=Word("x")), "pooling"),  # type: ignore[arg-type]
        (raw(stop=[Text("a\ud800b")]), "stop[0]"),
        (raw(stop=[Text("")]), "stop[0]"),
        (raw(cache_key=Text("x" * 257)), "cache_key"),
        (raw(max_tokens=Whole(-5)), "max_tokens"),
        (raw(max_tokens=Whole(10**30)), "max_tokens"),
        (raw(priority=Whole(10**40)), "priority"),
        (raw(seed=Whole(2**40)), "seed"),
        (raw(top_logprobs=Whole(5000)), "top_logprobs"),
        (raw(temperature=Real("nan")), "temperature"),
        (raw(temperature=Real(-1)), "temperature"),
        (raw(timeout=Real("inf")), "timeout"),
        (raw(timeout=Whole(-1)), "timeout"),
        (raw(logit_bias={Whole(-7): 1.0}), "logit_bias"),
        (raw(logit_bias={Text("-5"): 1.0}), "logit_bias"),
        (raw(logit_bias={5: Real("nan")}), "logit_bias[5]"),
        (spoken(arguments={"x": Whole(2**65)}), "messages[0].tool_calls[0].function.arguments"),
    ],
    ids=range(22),
)
def test_lies_are_refused_as_what_they_are(request_: Any, field: str) -> None:
    assert refusal(request_).field == field


def test_lies_that_are_within_bounds_become_plain() -> None:
    for request in (
        raw(max_tokens=Whole(5), seed=Whole(7), temperature=Real(0.5), timeout=Whole(9), stop=[Text("st")]),
        raw(logit_bias={Whole(5): Real(1.5), Text("6"): Whole(2)}, cache_key=Text("key")),
        spoken(arguments={"x": Whole(2**63), "y": Real(0.5), Text("z"): Text("text")}),
    ):
        found = normalize(request)
        assert decode(encode(Job(1, found))) == Job(1, found)
        for item in fields(found):
            check_plain(getattr(found, item.name))
    assert normalize(raw(max_tokens=Whole(5))).max_tokens == 5  # type: ignore[union-attr]
    assert normalize(raw(logit_bias={Text("6"): Real(1.5)})).logit_bias == {6: 1.5}  # type: ignore[union-attr]
    assert (type(scalar(Whole(5))), scalar(Whole(5))) == (int, 5)
    assert (type(scalar(Real(0.5))), scalar(Real(0.5))) == (float, 0.5)


def check_plain(value: Any) -> None:
    assert type(value) in (str, int, float, bool, type(None), tuple, dict)
    if isinstance(value, dict):
        value = (*value, *value.values())
    if isinstance(value, tuple):
        for item in value:
            check_plain(item)


def test_no_more_is_read_of_a_list_or_dict_than_the_items_that_it_says_it_has() -> None:
    assert normalize(raw(stop=Endless())).stop == ("a",)  # type: ignore[union-attr]
    assert normalize(Embed(Endless())).input == ("a",)  # type: ignore[union-attr]
    assert normalize(raw(logit_bias=EndlessDict())).logit_bias == {0: 1.0}  # type: ignore[union-attr]
    assert refusal(Chat(Endless())).field == "messages[0]"
    assert refusal(Chat("x", tools=Endless())).field == "tools[0]"
    assert normalize(spoken(arguments={"a": Endless()}))
    assert normalize(Chat([EndlessDict(USER)])) == normalize(Chat([USER]))
