"""Grammars in Lark, as far as they are checked before an engine sees them."""

from __future__ import annotations

import re

from .budgets import ByteBudget, WorkBudget
from .limits import LIMITS, count
from .refusals import refuse_grammar

_DEPTH = int(LIMITS["groups"].high)
_START = re.compile(r"^[ \t]*\??start(?:\[[^\]\n]*\])?[ \t]*:", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*\??[A-Za-z_]\w*(?:\[[^\]\n]*\])?[ \t]*:", re.MULTILINE)
#: Texts, expressions and comments, whose brackets are no groups. One that does not end goes on to the end of its
#: line, so that none is looked for anew at each quotation mark within it.
_OPAQUE = re.compile(r'"(?:[^"\\\n]|\\.)*"?|/(?:[^/\\\n]|\\.)+/?|//[^\n]*|\#[^\n]*')


def check_lark(field: str, value: object, work: WorkBudget) -> str:
    """The value, if it is a grammar in llguidance's form of Lark whose compiling has bounded costs.

    Raises:
        InvalidRequest: the value is no text, or too long.
        InvalidGrammar: the grammar has no first rule, too many rules or a NUL, or is nested too deeply.
    """
    text = ByteBudget("lark", work).checked_text(field, value)
    if "\0" in text:
        refuse_grammar(field, text, "leave out the NUL")
    if not _START.search(text):
        refuse_grammar(field, text, "give a rule 'start:' (Lark) or a rule 'root ::=' (GBNF)")
    count("rules", len(_RULE.findall(text)), field)
    depth = 0
    for bracket in re.findall(r"[()\[\]]", _OPAQUE.sub("", text)):
        depth += 1 if bracket in "([" else -1
        if depth > _DEPTH:
            refuse_grammar(field, text, f"nest at most {_DEPTH} groups")
    return text
