"""Grammars in Lark, as far as they are checked before an engine sees them."""

from __future__ import annotations

import json
import re
from collections import Counter

from .budgets import ByteBudget, WorkBudget
from .limits import LIMITS, count
from .readings import check_readings
from .refusals import refuse_grammar
from .response_formats import check_schema_text

_DEPTH = int(LIMITS["groups"].high)
_START = re.compile(r"^[ \t]*\??start(?:\[[^\]\n]*\])?[ \t]*:", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*[!?]*([A-Za-z_]\w*)(?:\[[^\]\n]*\])?[ \t]*:", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
#: Texts, expressions and comments, whose brackets are no groups. One that does not end goes on to the end of its
#: line, so that none is looked for anew at each quotation mark within it.
_OPAQUE = re.compile(r'"(?:[^"\\\n]|\\.)*"?|/(?:[^/\\\n]|\\.)+/?|//[^\n]*|\#[^\n]*')

_SCHEMA = re.compile(rf"{_OPAQUE.pattern}|(%json)\b\s*")
_DECODER = json.JSONDecoder()


def check_lark(field: str, value: object, strict: bool, work: WorkBudget) -> str:
    """The value, if it is a grammar in llguidance's form of Lark whose compiling has bounded costs.

    Args:
        field: what the grammar is, for messages.
        value: the grammar.
        strict: whether to refuse keywords of JSON schemas in it that cannot be enforced.
        work: the budget of the whole request.

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
    bare = _OPAQUE.sub(" ", text)
    _check_readings_of(field, text, bare)
    _check_schemas(field, text, strict, work)
    depth = 0
    for bracket in re.findall(r"[()\[\]]", bare):
        depth += 1 if bracket in "([" else -1
        if depth > _DEPTH:
            refuse_grammar(field, text, f"nest at most {_DEPTH} groups")
    return text


def _check_readings_of(field: str, text: str, bare: str) -> None:
    """Check in how many ways texts can be read: by a grammar without its texts, expressions and comments."""
    headers = list(_RULE.finditer(bare))
    ends = [header.start() for header in headers[1:]] + [len(bare)]
    bodies = [bare[header.end() : end] for header, end in zip(headers, ends, strict=True)]
    alternatives: Counter[str] = Counter()
    for header, body in zip(headers, bodies, strict=True):
        alternatives[header[1]] += body.count("|") + 1
    references = Counter(name for body in bodies for name in _NAME.findall(body))
    all_ = alternatives.total()
    for name, n in alternatives.items():
        # A token is found by an automaton, in one way.
        if not name.isupper():
            check_readings(field, text, f"rule {name[:60]}", n, references[name], all_)


def _check_schemas(field: str, text: str, strict: bool, work: WorkBudget) -> None:
    """Check the JSON schemas that stand in a grammar."""
    for found in _SCHEMA.finditer(text):
        if found[1] is None:
            continue
        try:
            _, end = _DECODER.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            refuse_grammar(field, text[found.start() : found.start() + 60], "let a JSON schema follow %json")
        check_schema_text(f"{field}.%json", text[found.end() : end], strict, work)
