"""From what an answer is held to, to the grammar that llguidance compiles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..._data.constraint import Constraint
from ..._data.errors import InvalidGrammar
from .guide_vocabulary import quoted
from .lark_parts import NOTHING, LarkPart, grammar_text, spaced

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


@dataclass(frozen=True, slots=True)
class GuideGrammar:
    """A grammar as llguidance takes it.

    Attributes:
        field: the name of the option that it is made of, for messages.
        text: the grammar, as JSON text.
        listed: whether it is a list of texts, which costs little for its size.
    """

    field: str
    text: str
    listed: bool = False


def grammar_of(
    constraint: Constraint, before: LarkPart = NOTHING, calls: LarkPart | None = None
) -> GuideGrammar:
    """The grammar of a constraint.

    Args:
        constraint: what the answer is held to.
        before: what may stand before the answer.
        calls: tool calls, of which there may be some instead of the answer; None if there may be none.

    Raises:
        InvalidGrammar: the constraint is to be JSON, and is not.
    """
    field, listed = _FIELDS[constraint.kind], constraint.kind == "choices"
    try:
        body = _body(constraint)
    except (ValueError, RecursionError) as error:
        raise InvalidGrammar(f"{field}: it cannot be read as JSON: {error}", field=field) from error
    if not before.expression and calls is None:
        return GuideGrammar(field, json.dumps({"grammars": [body]}), listed)
    answer = (
        LarkPart("@answer") if calls is None else LarkPart(f"(@answer | {calls.expression})", calls.rules)
    )
    top = {"lark_grammar": grammar_text(before, answer)}
    return GuideGrammar(field, json.dumps({"grammars": [top, {**body, "name": "answer"}]}), listed)


def lark_grammar(field: str, *parts: LarkPart) -> GuideGrammar:
    """A grammar whose parts are written in Lark."""
    return GuideGrammar(field, json.dumps({"grammars": [{"lark_grammar": grammar_text(*parts)}]}))


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
    return {"json_schema": spaced(schema, lenient=not constraint.strict)}
