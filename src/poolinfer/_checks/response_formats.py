"""The option `response_format`, in each of the ways in which callers write it, as a `Constraint`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .._data.answer_types import is_type, schema_of_type
from .._data.constraint import Constraint
from .._data.errors import InvalidRequest
from .budgets import ByteBudget, WorkBudget
from .plain_data import flag, is_one_of, json_value, mapping, plain_object, refuse_other_keys
from .refusals import refuse
from .schemas import check_schema

_REMEDY = (
    "use a type, a JSON schema, {'type': 'json_object'},"
    " or {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}"
)
#: Keys of which a JSON schema has at least one.
_OF_SCHEMAS = frozenset(
    (
        *("$schema", "$id", "$ref", "$defs", "definitions", "type", "enum", "const"),
        *("anyOf", "oneOf", "allOf", "not", "if"),
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "items", "prefixItems", "contains", "minItems", "maxItems"),
        *("minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    )
)
_OF_WRAPPERS = frozenset(("json_schema", "schema"))


def check_response_format(field: str, value: object, strict: bool, work: WorkBudget) -> Constraint | None:
    """The constraint of the option `response_format`; None if it allows any text.

    Args:
        field: what the value is called in messages.
        value: a type, a schema, or one of the dicts that OpenAI and llama-cpp-python take.
        strict: whether to refuse keywords of a schema that cannot be enforced.
        work: the budget of the whole request.

    Raises:
        InvalidRequest: the value is none of these, or too large.
        InvalidGrammar: no answer can be held to the schema.
    """
    if is_type(value):
        return _schema(field, schema_of_type(value), strict, work)
    if not isinstance(value, Mapping):
        refuse(field, value, _REMEDY)
    kind = value.get("type")
    if is_one_of(kind, ("text",)):
        refuse_other_keys(field, value, {"type"}, work)
        return None
    if is_one_of(kind, ("json_object",)):
        refuse_other_keys(field, value, {"type", "schema"}, work)
        schema = value.get("schema")
        return (
            Constraint("json_object") if schema is None else _schema(f"{field}.schema", schema, strict, work)
        )
    if is_one_of(kind, ("json_schema",)):
        return _openai_schema(field, value, strict, work)
    if not any(key in value for key in _OF_SCHEMAS) or any(key in value for key in _OF_WRAPPERS):
        refuse(field, value, _REMEDY)
    return _schema(field, value, strict, work)


def check_schema_text(field: str, text: object, strict: bool, work: WorkBudget) -> Constraint:
    """The constraint of a schema as JSON text.

    Raises:
        InvalidRequest: the text is no JSON object, or too large.
        InvalidGrammar: no answer can be held to the schema.
    """
    plain = ByteBudget("schema", work).checked_text(field, text)
    return _schema(field, json_value(field, plain, work), strict, work)


def _openai_schema(field: str, value: Mapping[Any, Any], strict: bool, work: WorkBudget) -> Constraint:
    refuse_other_keys(field, value, {"type", "json_schema"}, work)
    field = f"{field}.json_schema"
    inner = mapping(field, value.get("json_schema"), "use a dict with 'name' and 'schema'")
    refuse_other_keys(field, inner, {"name", "description", "schema", "strict"}, work)
    if inner.get("strict") is not None:
        strict = flag(f"{field}.strict", inner["strict"]) and strict
    if inner.get("schema") is None:
        raise InvalidRequest(f"{field} has no schema: give 'schema', a JSON schema as a dict", field=field)
    return _schema(f"{field}.schema", inner["schema"], strict, work)


def _schema(field: str, value: object, strict: bool, work: WorkBudget) -> Constraint:
    budget = ByteBudget("schema", work, depth="schema_depth")
    schema = plain_object(field, value, "use a JSON schema as a dict", budget)
    check_schema(field, schema, strict)
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return Constraint("json_schema", text, strict)
