"""JSON schemas before an engine sees them: keywords, references, and what compiling them would cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_schemas import api_schemas
from guided import as_answer, constraint, follows
from refusals import label, refusal

from poolinfer import Chat, InvalidGrammar, Raw
from poolinfer._checks.normalize import normalize


@pytest.mark.parametrize(
    ("schema", "field", "words"),
    [
        ({"type": "array", "uniqueItems": True}, "response_format.uniqueItems", "leave out uniqueItems"),
        ({"not": {"type": "null"}}, "response_format.not", "strict=False"),
        ({"properties": {"a": {"if": {}}}}, "response_format.properties.a.if", "leave out if"),
        ({"anyOf": [{"contains": {}}]}, "response_format.anyOf[0].contains", "leave out contains"),
        (
            {"$defs": {"a": {"dependentRequired": {}}}},
            "response_format.$defs.a.dependentRequired",
            "leave out",
        ),
        ({"type": "strng"}, "response_format.type", "use string, number, "),
        ({"type": ["string", "int"]}, "response_format.type", "use string, number, "),
        ({"$ref": "https://example.org/a"}, "response_format.$ref", "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "response_format.$ref", "nothing is fetched"),
        ({"$ref": "#/$defs/a"}, "response_format.$ref", "nothing of that name"),
        ({"$ref": "#/$defs/a", "$defs": {"b": {}}}, "response_format.$ref", "nothing of that name"),
        ({"$ref": 3}, "response_format.$ref", "nothing is fetched"),
        ({"type": "string", "pattern": "(a{1000}){1000}"}, "response_format.pattern", "count to at most"),
        (
            {"patternProperties": {"(a{1000}){1000}": {}}},
            "response_format.patternProperties",
            "count to at most",
        ),
        ({"multipleOf": 999_983}, "response_format.multipleOf", "factors beside 2 and 5"),
        (
            {"allOf": [{"multipleOf": 1009}, {"multipleOf": 1013}]},
            "response_format.allOf[1].multipleOf",
            "factors beside 2 and 5",
        ),
        ({"multipleOf": 0}, "response_format.multipleOf", "above 0"),
        (
            {"properties": {f"p{i}": {} for i in range(1001)}},
            "response_format.properties",
            "give at most 1,000",
        ),
        (
            {"anyOf": [{"properties": {f"p{i}": {} for i in range(205)}, "required": ["p1", "p2", "p3"]}]},
            "response_format.anyOf[0].properties",
            "put all but 200 into 'required'",
        ),
    ],
    ids=label,
)
def test_F51_what_no_answer_is_held_to(schema: Any, field: str, words: str) -> None:
    error = refusal(Chat("x", response_format=schema))
    assert isinstance(error, InvalidGrammar)
    assert error.field == field
    assert words in error.message


def test_what_cannot_be_enforced_is_ignored_on_request() -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "not": {"const": []}}
    assert follows("[1, 1]", response_format=schema, strict=False)
    assert not follows('["a"]', response_format=schema, strict=False)


def test_names_of_properties_are_no_keywords() -> None:
    names = ("not", "if", "uniqueItems", "$ref", "type", "pattern", "multipleOf", "properties")
    schema = {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in names},
        "required": ["not"],
    }
    assert follows('{"not": 1, "type": 2}', response_format=schema)
    for data in (
        {"enum": [{"not": 1, "$ref": "x"}]},
        {"const": {"multipleOf": 0}},
        {"default": {"if": 1}, "type": "null"},
    ):
        assert json.loads(constraint(response_format=data).text) == data


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 0, "maxLength": 100_000_000},
        {"type": "array", "maxItems": 100_000_000},
        {"type": "number", "multipleOf": 0.01, "minimum": 0},
        {"type": "integer", "multipleOf": 60},
        {"properties": {f"p{i}": {} for i in range(1000)}, "required": [f"p{i}" for i in range(800)]},
        {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "integer"}}},
        {"$ref": "#/anyOf/0", "anyOf": [{"type": "integer"}]},
        {"$ref": "#x", "$defs": {"a": {"$anchor": "x", "type": "integer"}}},
    ],
    ids=label,
)
def test_what_real_schemas_say_passes(schema: Any) -> None:
    assert json.loads(constraint(response_format=schema).text) == schema


def test_what_says_nothing_is_left_out() -> None:
    schema = {
        "type": "array",
        "uniqueItems": False,
        "minItems": 2.0,
        "items": {"type": "string", "maxLength": 3.0},
    }
    assert (
        constraint(response_format=schema).text
        == '{"type":"array","minItems":2,"items":{"type":"string","maxLength":3}}'
    )
    assert schema["uniqueItems"] is False


@pytest.mark.parametrize("api", list(api_schemas(30)), ids=lambda api: api.name)
def test_schemas_in_the_shapes_of_apis_take_their_instances(api: Any) -> None:
    for instance in api.instances:
        assert follows(as_answer(instance), response_format=api.schema)


@pytest.mark.parametrize(
    "keyword", ["maxLenght", "propertys", "require", "additionalproperties", "types", "ref"]
)
def test_a_misspelled_keyword_is_no_silent_freedom(keyword: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", keyword: 3}}}
    with pytest.raises(InvalidGrammar, match="did you mean") as caught:
        normalize(Raw("x", response_format=schema))
    assert caught.value.field == f"response_format.properties.a.{keyword}"
    assert normalize(Raw("x", response_format=schema, strict=False))


@pytest.mark.parametrize(
    "keyword", ["x-order", "propertyOrdering", "enumNames", "example", "readOnly", "a" * 10_000]
)
def test_a_keyword_of_others_means_nothing(keyword: str) -> None:
    assert normalize(Raw("x", response_format={"type": "string", keyword: 3}))
