"""What an answer is to be held to, as one `Constraint`: of the options that say it, a request may have one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .._data.constraint import Constraint
from .._data.errors import InvalidRequest
from .._data.requests import Generation
from .budgets import ByteBudget, WorkBudget
from .gbnf import is_gbnf, lark_of_gbnf
from .lark import check_lark
from .limits import count
from .plain_data import flag, json_value, nonempty, sequence
from .refusals import refuse
from .regexes import check_regex
from .response_formats import check_response_format, check_schema_text

_Check: TypeAlias = Callable[[str, Any, bool, WorkBudget], Constraint | None]


def constraint_of(request: Generation, options: Mapping[str, Any], work: WorkBudget) -> Constraint | None:
    """What a request holds its answer to; None if it holds it to nothing.

    Args:
        request: the request, as its caller made it.
        options: the other options of the request, checked.
        work: the budget of the whole request.

    Raises:
        InvalidRequest: two options hold the answer to something, or one is not acceptable.
        InvalidGrammar: no answer can be held to it.
    """
    given = [name for name in CONSTRAINTS if getattr(request, name) is not None]
    found = [CONSTRAINTS[name](name, getattr(request, name), options["strict"], work) for name in given]
    held = [(name, one) for name, one in zip(given, found, strict=True) if one is not None]
    if not held:
        return None
    name, constraint = held[0]
    if len(held) > 1:
        other = held[1][0]
        raise InvalidRequest(
            f"{other} beside {name}: an answer is held to one of them; leave out {other} or {name}",
            field=other,
        )
    if options.get("tool_choice", "auto") not in ("auto", "none"):
        raise InvalidRequest(
            f"{name} beside tool_choice: an answer that must call a tool can be nothing else; leave out {name}, or"
            " use tool_choice='auto'",
            field=name,
        )
    return constraint


def _response_format(field: str, value: object, strict: bool, work: WorkBudget) -> Constraint | None:
    if isinstance(value, Constraint):
        return _constraint(field, value, strict, work)
    return check_response_format(field, value, strict, work)


def _constraint(field: str, given: Constraint, strict: bool, work: WorkBudget) -> Constraint | None:
    """A constraint that was checked before, or that a caller made."""
    strict = flag(f"{field}.strict", given.strict) and strict
    field = f"{field}.text"
    if given.kind == "json_object":
        return Constraint("json_object", strict=strict)
    if given.kind == "json_schema":
        return check_schema_text(field, given.text, strict, work)
    if given.kind == "choices":
        text = ByteBudget("choices_text", work).checked_text(field, given.text)
        return _choices(field, json_value(field, text, work), strict, work)
    if given.kind == "regex":
        return _regex(field, given.text, strict, work)
    if given.kind == "lark":
        return Constraint("lark", check_lark(field, given.text, strict, work), strict)
    refuse(
        "response_format.kind", given.kind, "use 'json_schema', 'json_object', 'regex', 'choices' or 'lark'"
    )


def _regex(field: str, value: object, strict: bool, work: WorkBudget) -> Constraint:
    text = nonempty(field, ByteBudget("regex", work).checked_text(field, value))
    work.spend_characters(len(text))
    check_regex(field, text)
    return Constraint("regex", text, strict)


def _choices(field: str, value: object, strict: bool, work: WorkBudget) -> Constraint:
    texts = sequence(field, value, "use a list of str")
    count("choices", len(texts), field)
    work.spend_items(field, len(texts))
    budget = ByteBudget("choices_text", work)
    found = [
        nonempty(f"{field}[{i}]", budget.checked_text(f"{field}[{i}]", text)) for i, text in enumerate(texts)
    ]
    return Constraint("choices", json.dumps(found, ensure_ascii=False), strict)


def _grammar(field: str, value: object, strict: bool, work: WorkBudget) -> Constraint:
    """A grammar in Lark as it is, one in GBNF converted."""
    text = nonempty(field, ByteBudget("grammar", work).checked_text(field, value))
    work.spend_characters(len(text))
    if is_gbnf(text):
        text = lark_of_gbnf(field, text)
    return Constraint("lark", check_lark(field, text, strict, work), strict)


#: The options that hold an answer to something, and their checks.
CONSTRAINTS: Mapping[str, _Check] = {
    "response_format": _response_format,
    "regex": _regex,
    "choices": _choices,
    "grammar": _grammar,
}
