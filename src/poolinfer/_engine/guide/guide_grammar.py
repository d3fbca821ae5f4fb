"""From what an answer is held to, to the grammar that llguidance compiles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..._data.constraint import Constraint
from .guide_vocabulary import quoted

#: The option that each kind of constraint comes from.
_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "json_schema": "response_format",
        "json_object": "response_format",
        "regex": "regex",
        "choices": "choices",
        "lark": "grammar",
    }
)
#: JSON as most chat templates write it. Where whitespace is free, a model may write nothing else for ever.
_SPACING: Mapping[str, Any] = MappingProxyType(
    {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
)


@dataclass(frozen=True, slots=True)
class GuideGrammar:
    """A grammar as llguidance takes it.

    Attributes:
        field: the name of the option that it is made of, for messages.
        text: the grammar, as JSON text.
    """

    field: str
    text: str


def grammar_of(constraint: Constraint, before: str = "") -> GuideGrammar:
    """The grammar of a constraint.

    Args:
        constraint: what the answer is held to.
        before: what may stand before the answer: a part of a rule in Lark, and lines with further rules after it.
    """
    field = _FIELDS[constraint.kind]
    body = _body(constraint)
    if not before:
        return GuideGrammar(field, json.dumps({"grammars": [body]}))
    first, _, rules = before.partition("\n")
    top = {"lark_grammar": f"start: {first} @answer\n{rules}"}
    return GuideGrammar(field, json.dumps({"grammars": [top, {**body, "name": "answer"}]}))


def lark_grammar(field: str, text: str) -> GuideGrammar:
    """A grammar that is written in Lark."""
    return GuideGrammar(field, json.dumps({"grammars": [{"lark_grammar": text}]}))


def embedded(schema: Mapping[str, Any]) -> str:
    """A JSON schema as a part of a rule in Lark."""
    return f"%json {json.dumps(_spaced(schema), ensure_ascii=False)}"


def _body(constraint: Constraint) -> dict[str, Any]:
    import llguidance

    text = constraint.text
    if constraint.kind == "regex":
        return dict(json.loads(llguidance.LLMatcher.grammar_from_regex(text))["grammars"][0])
    if constraint.kind == "choices":
        # As one token of the grammar, since alternatives of a rule take time with the square of their number.
        return {"lark_grammar": f"start: CHOICE\nCHOICE: {' | '.join(map(quoted, json.loads(text)))}"}
    if constraint.kind == "lark":
        return {"lark_grammar": text}
    schema = json.loads(text) if constraint.kind == "json_schema" else {"type": "object"}
    return {"json_schema": _spaced(schema, lenient=not constraint.strict)}


def _spaced(schema: Any, *, lenient: bool = False) -> Any:
    """A schema with llguidance's own options in it."""
    if not isinstance(schema, dict):
        schema = {} if schema is True else {"allOf": [schema]}
    more = {"lenient": True, "coerce_one_of": True} if lenient else {}
    return {**schema, "x-guidance": {**_SPACING, **more}}
