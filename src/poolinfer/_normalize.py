"""Requests as plain checked data: the one door through which a request reaches a pool (promise P2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any, TypeAlias

from ._budget import Budget, Later, Work
from ._limits import count, flag, number, refuse
from ._messages import check_messages
from ._options import scalar
from ._plain import items, mapping, one_of, some
from ._requests import Chat, Embed, Generation, Raw, Request
from ._tools import check_tools

_Checked: TypeAlias = Chat | Raw | Embed

_REQUEST = ("timeout", "priority")
_SAMPLING = (
    *("max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty"),
    *("presence_penalty", "frequency_penalty", "seed", "top_logprobs"),
)
#: Per class, the fields in which None is not a value of its own, and the defaults that it stands for there.
_DEFAULTS: Mapping[type[Any], tuple[tuple[str, object], ...]] = {
    cls: tuple(
        (item.name, item.default)
        for item in fields(cls)
        if item.default is not MISSING and item.default is not None
    )
    for cls in (Chat, Raw, Embed)
}


def normalize(request: _Checked) -> _Checked:
    """A checked copy of a request, made of plain data that survives the wire.

    A chat's prompt becomes a tuple of message dicts, ``stop`` a tuple, every list a tuple.

    Raises:
        InvalidRequest: a field is not acceptable; ``.field`` names it.
    """
    request = _with_options(request)
    return replace(request, **_contents(request, Work()))


def normalize_at_once(request: _Checked) -> tuple[_Checked, bool]:
    """What can be checked of a request in about a millisecond; whether that is all of it, as `normalize` does it.

    Of a larger one, only the options are checked. Its messages, tools or texts are what `normalize` has to check
    yet; lists that the caller may add to are copied.

    Raises:
        InvalidRequest: a field is not acceptable; ``.field`` names it.
    """
    request = _with_options(request)
    try:
        return replace(request, **_contents(request, Work(at_once=True))), True
    except Later:
        return replace(request, **_held(request)), False


def _with_options(request: _Checked) -> _Checked:
    """The request with its options checked: all that is small."""
    if type(request) not in _DEFAULTS:
        refuse("request", request, "use Chat, Raw or Embed")
    absent: dict[str, Any] = {
        name: default for name, default in _DEFAULTS[type(request)] if getattr(request, name) is None
    }
    if absent:
        request = replace(request, **absent)
    if isinstance(request, Embed):
        return replace(request, **_numbers(request, _REQUEST), **_embed(request))
    if isinstance(request, Chat):
        return replace(request, **_generation(request), **_tool_choice(request.tool_choice))
    special = flag("parse_special", request.parse_special)
    return replace(request, **_generation(request), parse_special=special)


def _contents(request: _Checked, work: Work) -> dict[str, Any]:
    """What may be large, checked: the messages and tools, the prompt, or the texts to embed."""
    if isinstance(request, Chat):
        return {"tools": check_tools(request.tools, work), "prompt": check_messages(request.prompt, work)}
    if isinstance(request, Raw):
        return {"prompt": some("prompt", Budget("prompt", work).text("prompt", request.prompt))}
    return {"input": _input(request.input, work)}


def _held(request: _Checked) -> dict[str, Any]:
    """What may be large, unchecked, but not as the caller's own list, which may grow."""
    names = ("input",) if isinstance(request, Embed) else ("prompt", "tools")
    found = ((name, getattr(request, name, None)) for name in names)
    return {name: tuple(value) for name, value in found if type(value) is list}


def _numbers(request: Request, names: Sequence[str]) -> dict[str, Any]:
    return {name: number(name, getattr(request, name)) for name in names}


def _generation(request: Generation) -> dict[str, Any]:
    found = _numbers(request, (*_REQUEST, *_SAMPLING))
    found["stop"] = _stop(request.stop)
    found["cache_key"] = _cache_key(request.cache_key)
    found["logit_bias"] = _logit_bias(request.logit_bias)
    found["logprobs"] = flag("logprobs", request.logprobs) or found["top_logprobs"] > 0
    return found


def _stop(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else items("stop", value, "use a str or a list of str")
    count("stop", len(texts))
    found = []
    for i, text in enumerate(texts):
        field = f"stop[{i}]"
        found.append(Budget("stop_text", Work()).text(field, text))
        if not text:
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
    count("logit_bias", len(bias))
    found: dict[int, float] = {}
    for key, amount in bias.items():
        token = int(number("logit_bias_token", scalar(key), "logit_bias") or 0)
        found[token] = float(number("logit_bias_value", scalar(amount), f"logit_bias[{token}]") or 0)
    return found


def _tool_choice(value: object) -> dict[str, Any]:
    if not one_of(value, ("auto", "none")):
        refuse("tool_choice", value, "use 'auto' or 'none'; forcing a tool is not available yet")
    return {"tool_choice": str.__str__(value)}


def _embed(request: Embed) -> dict[str, Any]:
    pooling = request.pooling
    if pooling is not None and not one_of(pooling, ("mean", "cls", "last")):
        refuse("pooling", pooling, "use None, 'mean', 'cls' or 'last'")
    return {
        "pooling": pooling and str.__str__(pooling),
        "normalize": flag("normalize", request.normalize),
    }


def _input(value: object, work: Work) -> str | tuple[str, ...]:
    budget = Budget("input_bytes", work)
    if isinstance(value, str):
        return some("input", budget.text("input", value))
    texts = items("input", value, "use a str or a list of str")
    count("input", len(texts))
    work.items("input", len(texts))
    return tuple([some(f"input[{i}]", budget.text(f"input[{i}]", text)) for i, text in enumerate(texts)])
