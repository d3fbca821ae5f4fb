"""Requests as plain checked data: the one door through which a request reaches a pool (promise P2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import islice
from typing import Any, NoReturn

from .._data.errors import InvalidRequest
from .._data.option_names import scalar
from .._data.requests import Chat, Embed, Raw, Request
from .budgets import Budget, Later, Work
from .limits import LIMITS, check_pooling, count, flag, number, refuse, show
from .messages import check_messages
from .plain_data import items, mapping, one_of, some
from .tools import check_tools

_DIGITS = 10
_REQUEST = ("timeout", "priority")
_SAMPLING = (
    *("max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty"),
    *("presence_penalty", "frequency_penalty", "seed", "top_logprobs"),
)
#: Of each class, its fields and what None stands for in them.
_FIELDS: Mapping[type[Any], Mapping[str, object]] = {
    cls: {item.name: None if item.default is MISSING else item.default for item in fields(cls)}
    for cls in (Chat, Raw, Embed)
}


def normalize(request: Request) -> Request:
    """A checked copy of a request, made of plain data that survives the wire.

    A chat's prompt becomes a tuple of message dicts, ``stop`` a tuple, every list a tuple.

    Raises:
        InvalidRequest: a field is not acceptable; ``.field`` names it.
    """
    values = _options(request)
    return type(request)(**values, **_contents(request, Work()))


def normalize_at_once(request: Request) -> tuple[Request, bool]:
    """What can be checked of a request in about a millisecond; whether that is all of it, as `normalize` does it.

    Of a larger one, only the options are checked. Its messages, tools or texts are what `normalize` has to check
    yet; lists that the caller may add to are copied.

    Raises:
        InvalidRequest: a field is not acceptable; ``.field`` names it.
    """
    values = _options(request)
    try:
        return type(request)(**values, **_contents(request, Work(at_once=True))), True
    except Later:
        return type(request)(**values, **_held(request)), False


def _options(request: Request) -> dict[str, Any]:
    """The checked values of all fields but those that may be large."""
    defaults = _FIELDS.get(type(request))
    if defaults is None:
        refuse("request", request, "use Chat, Raw or Embed")
    given: dict[str, Any] = {}
    for name, default in defaults.items():
        value = getattr(request, name)
        given[name] = default if value is None else value
    if isinstance(request, Embed):
        return {**_numbers(given, _REQUEST), **_embed(given)}
    found = _generation(given)
    if isinstance(request, Chat):
        found["tool_choice"] = _tool_choice(given["tool_choice"])
    else:
        found["parse_special"] = flag("parse_special", given["parse_special"])
    return found


def _contents(request: Request, work: Work) -> dict[str, Any]:
    """What may be large, checked: the messages and tools, the prompt, or the texts to embed."""
    if isinstance(request, Chat):
        tools: object = request.tools
        return {
            "tools": () if tools is None else check_tools(tools, work),
            "prompt": check_messages(request.prompt, work),
        }
    if isinstance(request, Raw):
        return {"prompt": some("prompt", Budget("prompt", work).text("prompt", request.prompt))}
    return {"input": _input(request.input, work)}


def _held(request: Request) -> dict[str, Any]:
    """What may be large, unchecked, but not as the caller's own list, which may grow."""
    names = {Chat: ("prompt", "tools"), Raw: ("prompt",), Embed: ("input",)}[type(request)]
    found = ((name, getattr(request, name)) for name in names)
    return {name: tuple(value) if type(value) is list else value for name, value in found}


def _numbers(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: number(name, given[name]) for name in names}


def _generation(given: Mapping[str, Any]) -> dict[str, Any]:
    found = _numbers(given, (*_REQUEST, *_SAMPLING))
    found["stop"] = _stop(given["stop"])
    found["cache_key"] = _cache_key(given["cache_key"])
    found["logit_bias"] = _logit_bias(given["logit_bias"])
    found["logprobs"] = flag("logprobs", given["logprobs"]) or found["top_logprobs"] > 0
    return found


def _stop(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else items("stop", value, "use a str or a list of str")
    count("stop", len(texts))
    found = []
    for i, text in enumerate(texts):
        field = f"stop[{i}]"
        found.append(Budget("stop_text", Work()).text(field, text))
        if not found[-1]:
            refuse(field, text, "leave out the empty text; () is for none")
    return tuple(found)


def _cache_key(value: object) -> str | None:
    if value is None:
        return None
    key = Budget("cache_key", Work()).text("cache_key", value)
    if not key:
        refuse("cache_key", key, "give some text, or None to share with all calls that have no key")
    return key


def _logit_bias(value: object) -> dict[int, float] | None:
    if value is None:
        return None
    bias = mapping("logit_bias", value, "use a dict of token id to number")
    n = len(bias)
    count("logit_bias", n)
    found: dict[int, float] = {}
    for key, amount in islice(bias.items(), n):
        token = _token(key)
        if token in found:
            _refuse_key(key, "give every token id once")
        found[token] = float(number("logit_bias_value", scalar(amount), f"logit_bias[{token}]") or 0)
    return found


def _token(key: object) -> int:
    """The token id that a key stands for; JSON has texts only."""
    row = LIMITS["logit_bias_token"]
    token = scalar(key)
    if isinstance(key, str) and str.__len__(key) <= _DIGITS and str.isascii(key) and str.isdigit(key):
        token = int(str.__str__(key))
    if not isinstance(token, int) or isinstance(token, bool) or not row.holds(token):
        _refuse_key(key, row.remedy())
    return token


def _refuse_key(key: object, remedy: str) -> NoReturn:
    raise InvalidRequest(f"logit_bias key {show(key)}: {remedy}", field="logit_bias")


def _tool_choice(value: object) -> str:
    if not one_of(value, ("auto", "none")):
        refuse("tool_choice", value, "use 'auto' or 'none'; forcing a tool is not available yet")
    return str.__str__(value)


def _embed(given: Mapping[str, Any]) -> dict[str, Any]:
    pooling = given["pooling"]
    check_pooling(pooling)
    return {
        "pooling": None if pooling is None else str.__str__(pooling),
        "normalize": flag("normalize", given["normalize"]),
        "truncate": flag("truncate", given["truncate"]),
    }


def _input(value: object, work: Work) -> str | tuple[str, ...]:
    budget = Budget("input_bytes", work)
    if isinstance(value, str):
        return some("input", budget.text("input", value))
    texts = items("input", value, "use a str or a list of str")
    count("input", len(texts))
    work.items("input", len(texts))
    return tuple([some(f"input[{i}]", budget.text(f"input[{i}]", text)) for i, text in enumerate(texts)])
