"""Parts of grammars in Lark: what is put together from them, and the reasoning that may stand before an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..text.reasoning_format import ReasoningFormat
from .guide_vocabulary import GuideVocabulary

#: JSON as most chat templates write it. Where whitespace is free, a model may write nothing else for ever.
_SPACING: Mapping[str, Any] = MappingProxyType(
    {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
)

_PATTERNS = {"\n": "\\n", "/": "\\/"}


@dataclass(frozen=True, slots=True)
class LarkPart:
    """A part of a grammar.

    Attributes:
        expression: what stands in a rule.
        rules: the rules that the expression names, a line each.
    """

    expression: str = ""
    rules: tuple[str, ...] = ()


#: The part that stands for no text.
NOTHING = LarkPart()


def grammar_text(*parts: LarkPart) -> str:
    """A grammar in Lark, in which these parts follow one another."""
    start = " ".join(part.expression for part in parts if part.expression)
    return "\n".join([f"start: {start}", *(rule for part in parts for rule in part.rules)])


def pattern(text: str) -> str:
    """A text as a part of a regular expression in Lark."""
    escaped = (char if char.isalnum() else _PATTERNS.get(char) or re.escape(char) for char in text)
    return "".join(escaped)


def spaced(schema: Any, *, lenient: bool = False) -> Any:
    """A JSON schema with llguidance's own options in it; if `lenient`, it is enforced as far as possible."""
    if not isinstance(schema, dict):
        schema = {} if schema is True else {"allOf": [schema]}
    more = {"lenient": True, "coerce_one_of": True} if lenient else {}
    return {**schema, "x-guidance": {**_SPACING, **more}}


def embedded(schema: Any, *, lenient: bool = False) -> str:
    """A JSON schema as a part of a rule in Lark."""
    return f"%json {json.dumps(spaced(schema, lenient=lenient), ensure_ascii=False)}"


def reasoning_part(
    reasoning: ReasoningFormat | None, *, opened: bool, vocabulary: GuideVocabulary
) -> LarkPart:
    """The reasoning that may stand before an answer.

    Args:
        reasoning: how the model spells reasoning; None if it spells none.
        opened: whether the prompt has opened a block, which the answer has to close.
        vocabulary: the tokens.
    """
    if reasoning is None or not (opened or reasoning.reasons):
        return NOTHING
    first, *rest = vocabulary.parts(reasoning.closing.strip())
    after = vocabulary.joined(rest)
    if isinstance(first, int):
        # No text holds a control token, so all text up to it is reasoning.
        block, rule = f"REASONING {vocabulary.joined([first])}", "REASONING: /(.|\\n)*/"
    else:
        block, rule = "reasoning", f"reasoning[lazy]: /(.|\\n)*{pattern(first)}/"
    block = f"{block} {after} /\\s{{0,4}}/"
    if not opened:
        block = f"({vocabulary.lark(reasoning.opens[0])} {block})?"
    return LarkPart(block, (rule,))
