"""Grammars of tool calls, made from how a model spells them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..text.tool_format import ToolFormat
from .call_rules import rules_of_calls
from .guide_vocabulary import GuideVocabulary
from .lark_parts import LarkPart, pattern


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
    if not required and spelled.opens[0].startswith(" "):
        # Such a call begins in the head of a message, where prose has a head of its own.
        return None
    several = several and spelled.several
    rules = rules_of_calls(spelled, tools, vocabulary)
    return _section(_with_brackets(spelled), vocabulary, required=required, several=several, rules=rules)


def _with_brackets(spelled: ToolFormat) -> ToolFormat:
    """A spelling whose brackets around calls are parts of what stands around a section."""
    if spelled.kind not in ("array", "pythonic"):
        return spelled
    separator = "," if spelled.kind == "array" else spelled.separator
    return replace(
        spelled,
        section_open=spelled.section_open + "[",
        section_close="]" + spelled.section_close,
        separator=separator,
    )


def _section(
    spelled: ToolFormat, vocabulary: GuideVocabulary, *, required: bool, several: bool, rules: tuple[str, ...]
) -> LarkPart | None:
    """Calls, of which ``one`` is the rule of what stands between the marks of each."""
    between, close = vocabulary.lark(spelled.separator), vocabulary.lark(spelled.call_close)
    more = f"({between} {vocabulary.lark(spelled.call_open)} one {close})*" if several else ""
    whole = (spelled.section_open + spelled.call_open).lstrip("\n")
    end = vocabulary.lark(spelled.section_close)
    if required:
        begun = whole.removeprefix(spelled.begun)
        return LarkPart(f"{vocabulary.lark(begun)} one {close} {more} {end}", rules)
    marks = f"({'|'.join(pattern(text) for text in spelled.opens)})"
    if spelled.at_start:
        calls = f"calls: {vocabulary.lark(whole)} one {close} {more} {end}"
        # An object may be an answer, too, but not one that begins as calls do.
        begun = marks if whole else pattern("{" + json.dumps(spelled.name_key))
        return LarkPart("(calls | PROSE)", (calls, f"PROSE: ~/{begun}(.|\\n)*/", *rules))
    opening = next((text for text in spelled.opens if text and whole.startswith(text)), None)
    if opening is None:
        return None
    calls = f"calls: {vocabulary.lark(whole[len(opening) :])} one {close} {more} {end}"
    first = vocabulary.parts(opening)[0]
    if isinstance(first, int):
        opened = f"opened: {vocabulary.lark(opening)} calls"
        repeated = "(opened PROSE)*" if several else "opened?"
        return LarkPart(f"PROSE {repeated}", (opened, calls, "PROSE: /(.|\\n)*/", *rules))
    # Prose in which no call begins; or prose up to the place where one does.
    prose = f"PROSE: ~/(.|\\n)*{marks}(.|\\n)*/"
    opens = f"opens[lazy]: /(.|\\n)*{pattern(opening)}/"
    expression = "opened* PROSE" if several else "(opened | PROSE)"
    return LarkPart(expression, ("opened: opens calls", opens, calls, prose, *rules))
