"""Grammars of tool calls, made from how a model spells them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..text.tool_format import ToolFormat
from .guide_vocabulary import GuideVocabulary, quoted
from .lark_parts import LarkPart, embedded, pattern

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


def tool_part(
    spelled: ToolFormat,
    tools: Sequence[Mapping[str, Any]],
    vocabulary: GuideVocabulary,
    *,
    required: bool,
    several: bool,
) -> LarkPart | None:
    """What an answer may be where tools are offered; None for a spelling that has no grammar yet.

    Args:
        spelled: how the model spells calls.
        tools: those that may be called.
        vocabulary: the tokens.
        required: whether the answer is calls and nothing else. If not, it is any text, in which each call is right.
        several: whether there may be more than one call.
    """
    if spelled.kind != "object" or spelled.quote != '"' or spelled.bare_keys or spelled.id_place != "none":
        return None
    several = several and spelled.several
    rules = [f"one: {' | '.join(f'call_{i}' for i in range(len(tools)))}"]
    for i, tool in enumerate(tools):
        rules += [f"call_{i}: {_call(spelled, tool, f'arguments_{i}')}"]
        rules += [f"arguments_{i}: {embedded(arguments_schema(tool), lenient=_lenient(tool))}"]
    return _section(spelled, vocabulary, required=required, several=several, rules=tuple(rules))


def _section(
    spelled: ToolFormat, vocabulary: GuideVocabulary, *, required: bool, several: bool, rules: tuple[str, ...]
) -> LarkPart | None:
    """Calls, of which ``one`` is the rule of what stands between the marks of each."""
    between, close = vocabulary.lark(spelled.separator), vocabulary.lark(spelled.call_close)
    more = f"({between} {vocabulary.lark(spelled.call_open)} one {close})*" if several else ""
    whole = (spelled.section_open + spelled.call_open).lstrip()
    end = vocabulary.lark(spelled.section_close)
    if required:
        begun = whole.removeprefix(spelled.begun)
        return LarkPart(f"{vocabulary.lark(begun)} one {close} {more} {end}", rules)
    opening = next((text for text in spelled.opens if text and whole.startswith(text)), None)
    if opening is None:
        return None
    calls = f"calls: {vocabulary.lark(whole[len(opening) :])} one {close} {more} {end}"
    first = vocabulary.parts(opening)[0]
    if isinstance(first, int):
        opened = f"opened: {vocabulary.lark(opening)} calls"
        repeated = "(opened PROSE)*" if several else "opened?"
        return LarkPart(f"PROSE {repeated}", (opened, calls, "PROSE: /(.|\\n)*/", *rules))
    marks = f"({'|'.join(pattern(text) for text in spelled.opens)})"
    if spelled.at_start:
        prose = f"PROSE: ~/{marks}(.|\\n)*/"
        return LarkPart(
            "(opened | PROSE)", (f"opened: {vocabulary.lark(opening)} calls", calls, prose, *rules)
        )
    # Prose in which no call begins; or prose up to the place where one does.
    prose = f"PROSE: ~/(.|\\n)*{marks}(.|\\n)*/"
    opens = f"opens[lazy]: /(.|\\n)*{pattern(opening)}/"
    expression = "opened* PROSE" if several else "(opened | PROSE)"
    return LarkPart(expression, ("opened: opens calls", opens, calls, prose, *rules))


def _call(spelled: ToolFormat, tool: Mapping[str, Any], arguments: str) -> str:
    """A call as an object; the arguments are a rule of their own, as their schema may refer to its root."""
    name = json.dumps(tool["function"]["name"])
    if not spelled.name_key:
        return f"{quoted(f'{{{name}: ')} {arguments} {quoted('}')}"
    head = f"{{{json.dumps(spelled.name_key)}: {name}, {json.dumps(spelled.arguments_key)}: "
    return f"{quoted(head)} {arguments} {quoted('}')}"


def arguments_schema(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON schema of a tool's arguments: any object if the tool is not strict."""
    function = tool["function"]
    if function.get("strict") is False or not function.get("parameters"):
        return _ANY_OBJECT
    found: Mapping[str, Any] = function["parameters"]
    return found if found.get("type") else {"type": "object", **found}


def _lenient(tool: Mapping[str, Any]) -> bool:
    """Whether keywords of a tool's schema that cannot be enforced are ignored."""
    return not tool["function"].get("strict")
