"""The check of each option of a request: of every field but the prompt, the texts and the tools.

An option that is a number has its bounds in `LIMITS`, under its own name, and one that is True or False needs none.
Any other option has a function here, in `_CHECKS`. So a new option cannot be forgotten: a field without a check is
an error when poolinfer is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field
from itertools import islice
from typing import Any, NoReturn, TypeAlias

from .._data.errors import InvalidRequest
from .._data.option_names import scalar
from .budgets import ByteBudget, WorkBudget
from .limits import LIMITS, count, number
from .plain_data import check_pooling, flag, is_one_of, mapping, sequence
from .refusals import refuse, show
from .tools import tool_name

#: Takes a field's name and its value; gives the checked value, or raises `InvalidRequest`.
OptionCheck: TypeAlias = Callable[[str, Any], Any]

#: Most digits of a token id in a text.
_MAX_DIGITS = 10


def check_of(field: Field[Any]) -> OptionCheck:
    """The check of an option.

    Raises:
        LookupError: the option has none.
    """
    if field.name in _CHECKS:
        return _CHECKS[field.name]
    if isinstance(field.default, bool):
        return flag
    if field.name in LIMITS:
        return number
    raise LookupError(
        f"the field {field.name} has no check: give it a row in LIMITS or a function in _CHECKS"
    )


def _texts(field: str, value: object, bytes_: str) -> tuple[str, ...]:
    """A text or several, none of them empty. `bytes_` is the row of `LIMITS` that bounds each of them."""
    texts = [value] if isinstance(value, str) else sequence(field, value, "use a str or a list of str")
    count(field, len(texts))
    found = []
    for i, text in enumerate(texts):
        found.append(ByteBudget(bytes_, WorkBudget()).checked_text(f"{field}[{i}]", text))
        if not found[-1]:
            refuse(f"{field}[{i}]", text, "leave out the empty text; () is for none")
    return tuple(found)


def _stop(field: str, value: object) -> tuple[str, ...]:
    return _texts(field, value, "stop_text")


def _breakers(field: str, value: object) -> tuple[str, ...]:
    texts = _texts(field, value, "dry_sequence_breaker")
    for i, text in enumerate(texts):
        if "\0" in text:
            refuse(f"{field}[{i}]", text, "leave out the NUL, at which llama.cpp would end the text")
    return texts


def _cache_key(field: str, value: object) -> str:
    key = ByteBudget("cache_key", WorkBudget()).checked_text(field, value)
    if not key:
        refuse(field, key, "give some text, or None to share with all calls that have no key")
    return key


def _logit_bias(field: str, value: object) -> dict[int | str, float] | None:
    bias = mapping(field, value, "use a dict of token id or text to number")
    n = len(bias)
    count("logit_bias", n, field)
    found: dict[int | str, float] = {}
    for key, amount in islice(bias.items(), n):
        token = _token(field, key)
        if token in found:
            _refuse_key(field, key, "give every token id and every text once")
        found[token] = float(number("logit_bias_value", scalar(amount), f"{field}[{show(token)}]") or 0)
    return found


def _token(field: str, key: object) -> int | str:
    """The token id that a key stands for, or its text. In JSON a key is always a text, so digits are an id."""
    row = LIMITS["logit_bias_token"]
    token = scalar(key)
    if isinstance(key, str):
        text = ByteBudget("logit_bias_text", WorkBudget()).checked_text(field, key)
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            return text or _refuse_key(field, key, "leave out the empty text, which has no tokens")
        token = int(text) if len(text) <= _MAX_DIGITS else -1
    if not isinstance(token, int) or isinstance(token, bool) or not row.holds(token):
        _refuse_key(field, key, row.remedy())
    return token


def _refuse_key(field: str, key: object, remedy: str) -> NoReturn:
    raise InvalidRequest(f"{field} key {show(key)}: {remedy}", field=field)


def _tool_choice(field: str, value: object) -> str | dict[str, Any]:
    if is_one_of(value, ("auto", "none", "required")):
        return str.__str__(value)
    function = (
        value.get("function") if isinstance(value, Mapping) and value.get("type") == "function" else None
    )
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        refuse(
            field,
            value,
            "use 'auto', 'none', 'required', or {'type': 'function', 'function': {'name': ...}} for one tool",
        )
    return {"type": "function", "function": {"name": tool_name(f"{field}.function.name", name)}}


def _max_tokens(field: str, value: object) -> int | float | None:
    """0 passes here: `check_together` refuses it where the prompt is not wanted, either."""
    plain = scalar(value)
    return 0 if type(plain) is int and plain == 0 else number(field, value)


def _reasoning(field: str, value: object) -> bool | str | None:
    if value is None or isinstance(value, bool):
        return value
    if not is_one_of(value, ("low", "medium", "high")):
        refuse(field, value, "use True, False, 'low', 'medium', 'high', or None to leave it to the model")
    return str.__str__(value)


def _pooling(_: str, value: object) -> str | None:
    return check_pooling(value)


def _input_type(field: str, value: object) -> str | None:
    if value is None:
        return None
    if not is_one_of(value, ("query", "document")):
        refuse(field, value, "use None, 'query' or 'document'")
    return str.__str__(value)


_CHECKS: Mapping[str, OptionCheck] = {
    "max_tokens": _max_tokens,
    "stop": _stop,
    "dry_sequence_breakers": _breakers,
    "cache_key": _cache_key,
    "logit_bias": _logit_bias,
    "tool_choice": _tool_choice,
    "reasoning": _reasoning,
    "pooling": _pooling,
    "input_type": _input_type,
}
