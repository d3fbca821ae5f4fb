"""Every field of every request is checked, and a new option needs no line of its own where requests are checked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, cast, get_args, get_origin

import pytest
from refusals import refusal

from poolinfer._checks.limits import LIMITS, Limit
from poolinfer._checks.normalize import normalize
from poolinfer._checks.option_checks import check_of
from poolinfer._data.errors import InvalidRequest
from poolinfer._data.requests import Chat, Raw, Request
from poolinfer._data.text_requests import Embed, Rerank
from poolinfer._data.token_requests import ApplyTemplate, Detokenize, Tokenize

#: Every kind of request, with contents that it takes.
CONTENTS: dict[Any, dict[str, Any]] = {
    Chat: {"prompt": "x"},
    Raw: {"prompt": "x"},
    Embed: {"input": "x"},
    Rerank: {"query": "x", "documents": ["x"]},
    Tokenize: {"text": "x"},
    Detokenize: {"tokens": [1]},
    ApplyTemplate: {"prompt": "x"},
}
FIELDS = [(kind, item.name) for kind in CONTENTS for item in fields(kind)]


def test_every_kind_of_request_is_looked_at() -> None:
    assert {get_origin(kind) or kind for kind in get_args(Request)} == set(CONTENTS)


class Stranger:
    """No field of any request takes one."""


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=[f"{kind.__name__}.{name}" for kind, name in FIELDS])
def test_every_field_of_every_request_has_a_check(kind: Any, name: str) -> None:
    contents = CONTENTS[kind]
    for value in (Stranger(), [Stranger()], {Stranger(): Stranger()}, 1e400, "\ud800"):
        error = refusal(kind(**{**contents, name: value}))
        assert error.field is not None
        # Of messages, an item is named: `messages[0]`.
        wanted = ("prompt", "messages") if name == "prompt" else (name,)
        assert error.field.startswith(wanted), (error.field, value)


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=[f"{kind.__name__}.{name}" for kind, name in FIELDS])
def test_None_stands_for_the_default_of_every_field_that_has_one(kind: Any, name: str) -> None:
    contents = CONTENTS[kind]
    if name in contents:
        assert refusal(kind(**{**contents, name: None})).field == name
    else:
        assert normalize(kind(**contents, **{name: None})) == normalize(kind(**contents))


@dataclass(frozen=True, kw_only=True)
class Wider(Raw):
    """A request with three options more, whose names no engine will ever have."""

    colourfulness: float = 1.0
    shouts: bool = False
    mood: str = ""


def test_a_new_number_needs_a_row_in_the_table_of_limits_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {item.name: item for item in fields(Wider)}
    with pytest.raises(LookupError, match="colourfulness has no check: give it a row in LIMITS"):
        check_of(found["colourfulness"])
    row = Limit("colourfulness", 0, 1, "a share", whole=False)
    monkeypatch.setitem(cast("dict[str, Limit]", LIMITS), "colourfulness", row)
    check = check_of(found["colourfulness"])
    assert check("colourfulness", 1) == 1.0
    with pytest.raises(InvalidRequest, match="colourfulness is 2: use a number from 0 to 1") as caught:
        check("colourfulness", 2)
    assert caught.value.field == "colourfulness"


def test_a_new_flag_needs_nothing() -> None:
    found = {item.name: item for item in fields(Wider)}
    check = check_of(found["shouts"])
    assert check("shouts", True) is True
    with pytest.raises(InvalidRequest, match="shouts is 1: use True or False"):
        check("shouts", 1)


def test_a_field_that_nothing_checks_is_an_error() -> None:
    """Not an option that any value passes."""
    for kind in (Wider, make_dataclass("Odd", [("colour", str, field(default="red"))])):
        item = fields(kind)[-1]
        with pytest.raises(LookupError, match=f"the field {item.name} has no check"):
            check_of(item)
