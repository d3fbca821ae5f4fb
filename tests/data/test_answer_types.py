"""Types of answers: the schema that a type means, and what an answer becomes."""

from __future__ import annotations

import datetime
import decimal
import enum
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType, Optional, Union

import pydantic
import pytest
from guided import as_answer, constraint, follows
from refusals import refusal
from typing_extensions import NotRequired, Required, TypedDict

from poolinfer import Chat, InvalidRequest, ParseError
from poolinfer._data import answer_types
from poolinfer._data.answer_types import parse_answer, schema_of_type


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: float
    y: float = 0.0
    name: Annotated[str, "what it is called"] = ""
    seen: list[str] = field(default_factory=list, init=False)


@dataclass(frozen=True, kw_only=True)
class Tree:
    value: int
    children: tuple[Tree, ...] = ()


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Loose(TypedDict, total=False):
    a: Required[int]
    b: Optional[Color]  # noqa: UP045 (as callers write it)


@dataclass
class Left:
    next: Left | Right | None
    n: int


@dataclass
class Right:
    next: Left | Right | None
    n: int


@dataclass
class Even:
    n: int

    def __post_init__(self) -> None:
        if self.n % 2:
            raise ValueError("odd")


class Book(pydantic.BaseModel):
    title: str
    pages: Annotated[int, pydantic.Field(ge=1, le=9)]
    price: decimal.Decimal = decimal.Decimal(1)
    tags: set[str] = set()
    printed: datetime.date | None = None
    cover: pydantic.SecretStr | None = None


@dataclass
class Shelf:
    books: list[Book]


Name = NewType("Name", str)
NULL, INTEGER = {"type": "null"}, {"type": "integer"}

CASES: list[tuple[Any, Any, Any]] = [
    (str, "ä", "ä"),
    (int, 3, 3),
    (float, 3, 3.0),
    (bool, True, True),
    (None, None, None),
    (Any, [1, {"a": None}], [1, {"a": None}]),
    (list, [1, "a"], [1, "a"]),
    (dict, {"a": 1}, {"a": 1}),
    (list[int], [1, 2], [1, 2]),
    (Sequence[float], [1, 2.5], [1.0, 2.5]),
    (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
    (Mapping[str, bool], {"b": False}, {"b": False}),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
    (Optional[int], None, None),  # noqa: UP045 (as callers write it)
    (Union[int, str], "a", "a"),  # noqa: UP007
    (float | int, 3, 3),
    (Literal["a", 1, True, None], True, True),
    (Color, "red", Color.RED),
    (list[Level], [2, 1], [Level.HIGH, Level.LOW]),
    (Name, "a", "a"),
    (Annotated[int, "a number"], 3, 3),
    (Point, {"x": 1, "name": "a"}, Point(1.0, 0.0, "a")),
    (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(value=1, children=(Tree(value=2),))),
    (Movie, {"title": "a"}, {"title": "a"}),
    (Loose, {"a": 1, "b": "blue"}, {"a": 1, "b": Color.BLUE}),
    (list[Point | Movie], [{"title": "a"}, {"x": 2}], [{"title": "a"}, Point(2.0)]),
    (Book, {"title": "a", "pages": 3, "price": 2.5}, Book(title="a", pages=3, price=decimal.Decimal("2.5"))),
    (
        Shelf,
        {"books": [{"title": "a", "pages": 3, "tags": ["b", "b"]}]},
        Shelf([Book(title="a", pages=3, tags={"b"})]),
    ),
    (datetime.date, "2026-11-22", datetime.date(2026, 11, 22)),
]


@pytest.mark.parametrize(("kind", "data", "made"), CASES, ids=lambda value: str(value)[:40])
def test_an_answer_becomes_an_instance_of_its_type(kind: Any, data: Any, made: Any) -> None:
    found = parse_answer(as_answer(data), kind)
    assert found == made
    assert type(found) is type(made)
    assert follows(as_answer(data), response_format=type(None) if kind is None else kind)


def test_schemas_of_types() -> None:
    assert schema_of_type(int | None) == {"anyOf": [INTEGER, NULL]}
    assert schema_of_type(Color) == {"enum": ["red", "blue"]}
    assert schema_of_type(tuple[int, str])["items"] is False
    assert schema_of_type(Tree) == {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {
                    "value": INTEGER,
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                },
                "required": ["value"],
                "additionalProperties": False,
            }
        },
    }
    point = schema_of_type(Point)["$defs"]["Point"]
    assert point["properties"]["name"] == {"type": "string", "description": "what it is called"}
    assert (list(point["properties"]), point["required"]) == (["x", "y", "name"], ["x"])
    assert schema_of_type(Loose)["$defs"]["Loose"]["required"] == ["a"]
    book = schema_of_type(Book)
    assert book["additionalProperties"] is False
    assert book["properties"]["price"]["type"] == "number"
    assert "uniqueItems" not in book["properties"]["tags"]
    assert book["properties"]["printed"]["anyOf"][0]["format"] == "date"
    assert "format" not in book["properties"]["cover"]["anyOf"][0]


def test_types_of_one_name_have_schemas_of_their_own() -> None:
    def made() -> Any:
        @dataclass
        class Point:
            z: int

        return Point

    other = made()
    schema = schema_of_type(tuple[Point, other])
    assert set(schema["$defs"]) == {"Point", "Point_"}
    assert parse_answer('[{"x": 1}, {"z": 2}]', tuple[Point, other]) == (Point(1.0), other(2))


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (None, "", "cannot be parsed"),
        (None, '{"a": 1', "cannot be parsed"),
        (None, "NaN", "NaN is no JSON"),
        (None, "[" * 200_000, "nested too deeply"),
        (int, "true", "the answer is True: not of type integer"),
        (int, "1.5", "not of type integer"),
        (float, "1e999", "not of type number"),
        (str, "null", "not of type string"),
        (list[int], '[1, "a"]', r"the answer\[1\] is 'a'"),
        (dict[str, int], '{"a": "b"}', r"the answer\.a is 'b'"),
        (tuple[int, str], "[1]", "not a list of 2 items"),
        (Color, '"green"', "not one of 'red', 'blue'"),
        (Literal[1], "true", "not one of 1"),
        (Point, "{}", "x is missing"),
        (Point, '{"x": 1, "z": 2}', r"the answer\.z is 2: not a field of Point"),
        (Point | None, '{"x": "a"}', "not of type null"),
        (Even, '{"n": 3}', "refused by Even: odd"),
        (Book, '{"title": "a", "pages": 10}', "less than or equal to 9"),
        (Book, "nothing", "Invalid JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_answer_that_does_not_fit_says_where(kind: Any, text: str, words: str) -> None:
    with pytest.raises(ParseError, match=words) as caught:
        parse_answer(text, kind)
    assert caught.value.partial == text
    assert isinstance(caught.value, ValueError)


def test_unions_that_nest_end_in_time() -> None:
    """Each level could be tried as either type, which would make 2**60 tries."""

    answer = '{"next": ' * 60 + "null" + ', "n": "a"}' * 60
    with pytest.raises(ParseError, match="more than 250,000 parts"):
        parse_answer(answer, Left)


@pytest.mark.parametrize("kind", [type("Odd", (), {}), list["nowhere"], Callable[[int], int]])  # type: ignore[name-defined]  # noqa: F821
def test_what_is_no_type_of_an_answer_is_refused(kind: Any) -> None:
    error = refusal(Chat("x", response_format=kind))
    assert error.field == "response_format"
    assert "means no JSON schema: give another type, or a schema" in error.message


def test_names_that_a_type_cannot_find_are_refused() -> None:
    @dataclass
    class Inner:
        a: int

    @dataclass
    class Outer:
        inner: Inner

    error = refusal(Chat("x", response_format=Outer))
    assert "define it in the module, not in a function" in error.message


def test_without_pydantic_types_of_ones_own_work_and_others_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_types._cached.cache_clear()
    for name in [*sys.modules]:
        if (
            name.partition(".")[0] in ("pydantic", "pydantic_core")
            or name == "poolinfer._data.pydantic_types"
        ):
            monkeypatch.setitem(sys.modules, name, None)
    for kind, data, made in CASES[:-3]:
        assert parse_answer(as_answer(data), kind) == made
    for kind in (Book, Shelf, datetime.date):
        with pytest.raises(
            InvalidRequest, match=r"only pydantic can read: pip install 'poolinfer\[pydantic\]'"
        ):
            schema_of_type(kind)
    answer_types._cached.cache_clear()


def test_the_types_own_schema_is_not_changed() -> None:
    before = Book.model_json_schema()
    assert constraint(response_format=Book) == constraint(response_format=Book)
    assert Book.model_json_schema() == before
