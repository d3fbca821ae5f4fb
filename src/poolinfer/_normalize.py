"""Requests as plain checked data: the one door through which a request reaches a pool (promise P2)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeGuard

from ._errors import InvalidRequest
from ._limits import LIMITS, Budget, check_pooling, count, flag, number, refuse, show
from ._prompt import Prompt
from ._requests import Chat, Embed, Generation, Raw, Request

_REQUEST = ("timeout", "priority")
_SAMPLING = (
    *("max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty"),
    *("presence_penalty", "frequency_penalty", "seed", "top_logprobs"),
)
_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"}
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DEPTH = int(LIMITS["depth"].high)


def normalize(request: Chat | Raw | Embed) -> Chat | Raw | Embed:
    """A checked copy of a request, made of plain data that survives the wire.

    A chat's prompt becomes a tuple of message dicts, ``stop`` a tuple, every list a tuple.

    Raises:
        InvalidRequest: a field is not acceptable; ``.field`` names it.
    """
    if type(request) is Chat:
        return replace(request, **_generation(request), **_chat(request))
    if type(request) is Raw:
        prompt = _some("prompt", Budget("prompt").text("prompt", request.prompt))
        special = flag("parse_special", request.parse_special)
        return replace(request, **_generation(request), prompt=prompt, parse_special=special)
    if type(request) is Embed:
        return replace(request, **_numbers(request, _REQUEST), **_embed(request))
    refuse("request", request, "use Chat, Raw or Embed")


def _numbers(request: Request, names: Sequence[str]) -> dict[str, Any]:
    return {name: number(name, getattr(request, name)) for name in names}


def _generation(request: Generation) -> dict[str, Any]:
    found = _numbers(request, (*_REQUEST, *_SAMPLING))
    found["stop"] = _stop(request.stop)
    found["cache_key"] = _cache_key(request.cache_key)
    found["logit_bias"] = _logit_bias(request.logit_bias)
    found["logprobs"] = flag("logprobs", request.logprobs) or found["top_logprobs"] > 0
    return found


def _items(field: str, value: object, remedy: str) -> Sequence[Any]:
    """The value, if it is a sequence of things (a text is not)."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview):
        refuse(field, value, remedy)
    return value


def _one_of(value: object, words: Sequence[str]) -> TypeGuard[str]:
    return isinstance(value, str) and value in words


def _mapping(field: str, value: object, remedy: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        refuse(field, value, remedy)
    return value


def _only(field: str, found: Mapping[Any, Any], known: set[str]) -> None:
    """Refuse keys that would be ignored; SDKs send the ones they don't use as None."""
    for key, value in found.items():
        if key not in known and value is not None:
            refuse(field, key, f"leave this key out; only {', '.join(sorted(known))} mean something here")


def _stop(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else _items("stop", value, "use a str or a list of str")
    count("stop", len(texts))
    found = []
    for i, text in enumerate(texts):
        field = f"stop[{i}]"
        found.append(Budget("stop_text").text(field, text))
        if not text:
            refuse(field, text, "leave out the empty text; () is for none")
    return tuple(found)


def _cache_key(value: object) -> str | None:
    if value is None:
        return None
    key = Budget("cache_key").text("cache_key", value)
    if not key:
        refuse("cache_key", key, "give some text, or None to share with all calls that have no key")
    return key


def _logit_bias(value: object) -> dict[int, float] | None:
    if value is None:
        return None
    bias = _mapping("logit_bias", value, "use a dict of token id to number")
    count("logit_bias", len(bias))
    found: dict[int, float] = {}
    for token, amount in bias.items():
        key = number("logit_bias_token", token, "logit_bias")
        found[int(key or 0)] = float(number("logit_bias_value", amount, f"logit_bias[{show(token)}]") or 0)
    return found


def _embed(request: Embed) -> dict[str, Any]:
    check_pooling(request.pooling)
    return {
        "pooling": request.pooling and str.__str__(request.pooling),
        "normalize": flag("normalize", request.normalize),
        "truncate": flag("truncate", request.truncate),
        "input": _input(request.input),
    }


def _input(value: object) -> str | tuple[str, ...]:
    budget = Budget("input_bytes")
    if isinstance(value, str):
        return _some("input", budget.text("input", value))
    texts = _items("input", value, "use a str or a list of str")
    count("input", len(texts))
    return tuple(_some(f"input[{i}]", budget.text(f"input[{i}]", text)) for i, text in enumerate(texts))


def _some(field: str, text: str) -> str:
    if not text:
        refuse(field, text, "give some text")
    return text


def _chat(request: Chat) -> dict[str, Any]:
    choice = request.tool_choice
    if not _one_of(choice, ("auto", "none")):
        refuse("tool_choice", choice, "use 'auto' or 'none'; forcing a tool is not available yet")
    return {
        "tool_choice": str.__str__(choice),
        "tools": _tools(request.tools),
        "prompt": _messages(request.prompt),
    }


def _messages(prompt: object) -> tuple[dict[str, Any], ...]:
    if isinstance(prompt, str):
        return ({"role": "user", "content": _some("prompt", Budget("prompt").text("prompt", prompt))},)
    turns = _items("prompt", _turns(prompt), "use a str, a list of message dicts or a Prompt")
    count("messages", len(turns))
    budget = Budget("prompt")
    found = tuple(_message(f"messages[{i}]", turn, budget) for i, turn in enumerate(turns))
    if found[-1]["role"] == "assistant":
        field = f"messages[{len(found) - 1}].role"
        refuse(field, "assistant", "end with a user or tool message; an answer cannot be continued")
    if not any(turn["content"] or "tool_calls" in turn for turn in found):
        raise InvalidRequest("messages hold no text: give some text", field="messages")
    return found


def _turns(prompt: object) -> object:
    if not isinstance(prompt, Prompt):
        return prompt
    try:
        return prompt.messages
    except (TypeError, ValueError):
        refuse("prompt", prompt, "build it with Prompt.system(..).user(..)")


def _message(field: str, value: object, budget: Budget) -> dict[str, Any]:
    turn = _mapping(field, value, "use a dict with 'role' and 'content'")
    role = turn.get("role")
    if not _one_of(role, _ROLES):
        refuse(f"{field}.role", role, f"use one of {', '.join(_ROLES)}")
    _only(field, turn, _MESSAGE_KEYS)
    calls = _tool_calls(f"{field}.tool_calls", turn.get("tool_calls"), role, budget)
    content = turn.get("content")
    if content is None and calls:
        content = ""
    found: dict[str, Any] = {
        "role": "system" if role == "developer" else str.__str__(role),
        "content": _content(f"{field}.content", content, budget),
    }
    for key in ("name", "tool_call_id", "reasoning_content"):
        if turn.get(key) is not None:
            found[key] = budget.text(f"{field}.{key}", turn[key])
    return {**found, "tool_calls": calls} if calls else found


def _content(field: str, value: object, budget: Budget) -> str:
    if isinstance(value, str):
        return budget.text(field, value)
    parts = _items(field, value, "use a str or a list of text parts")
    count("messages", len(parts), field)
    return "".join(_part(f"{field}[{i}]", part, budget) for i, part in enumerate(parts))


def _part(field: str, value: object, budget: Budget) -> str:
    part = _mapping(field, value, "use {'type': 'text', 'text': ...}")
    kind = part.get("type")
    if not _one_of(kind, ("text",)):
        refuse(f"{field}.type", kind, "use 'text'; images and audio are not available yet")
    return budget.text(f"{field}.text", part.get("text"))


def _tool_calls(field: str, value: object, role: str, budget: Budget) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    calls = _items(field, value, "use a list of tool calls")
    if calls and role != "assistant":
        refuse(field, value, "only assistant messages have tool calls")
    count("tools", len(calls), field)
    return tuple(_tool_call(f"{field}[{i}]", call, budget) for i, call in enumerate(calls))


def _tool_call(field: str, value: object, budget: Budget) -> dict[str, Any]:
    call = _mapping(field, value, "use {'id': ..., 'type': 'function', 'function': {...}}")
    function = _function(field, call, {"id", "type", "function", "index"}, {"name", "arguments"})
    found: dict[str, Any] = {"type": "function"}
    if call.get("id") is not None:
        found["id"] = budget.text(f"{field}.id", call["id"])
    field = f"{field}.function"
    name = _tool_name(f"{field}.name", function.get("name"))
    arguments = _arguments(f"{field}.arguments", function.get("arguments"), budget)
    return {**found, "function": {"name": name, "arguments": arguments}}


def _function(field: str, value: Mapping[Any, Any], outer: set[str], inner: set[str]) -> Mapping[Any, Any]:
    kind = value.get("type", "function")
    if not _one_of(kind, ("function",)):
        refuse(f"{field}.type", kind, "use 'function'")
    _only(field, value, outer)
    function = _mapping(f"{field}.function", value.get("function"), "use a dict with 'name'")
    _only(f"{field}.function", function, inner)
    return function


def _tool_name(field: str, value: object) -> str:
    if not isinstance(value, str) or _TOOL_NAME.fullmatch(value) is None:
        refuse(field, value, "use 1 to 64 letters, digits, '_', '-' or '.'")
    return str.__str__(value)


def _arguments(field: str, value: object, budget: Budget) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        value = _json(field, budget.text(field, value) or "{}")
    _mapping(field, value, "use a JSON object, as text or as a dict")
    found: dict[str, Any] = _plain(field, value, budget)
    return found


def _json(field: str, text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        refuse(field, text, "use valid JSON, without duplicate keys and not nested deeply")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate keys")
    return found


def _tools(value: object) -> tuple[dict[str, Any], ...]:
    tools = _items("tools", value, "use a list of function tools")
    count("tools", len(tools))
    budget = Budget("tools_json")
    found = tuple(_tool(f"tools[{i}]", tool, budget) for i, tool in enumerate(tools))
    names: set[str] = set()
    for i, tool in enumerate(found):
        name = tool["function"]["name"]
        if name in names:
            refuse(f"tools[{i}].function.name", name, "give every tool its own name")
        names.add(name)
    return found


def _tool(field: str, value: object, budget: Budget) -> dict[str, Any]:
    tool = _mapping(field, value, "use {'type': 'function', 'function': {...}}")
    function = _function(field, tool, {"type", "function"}, {"name", "description", "parameters", "strict"})
    field = f"{field}.function"
    found: dict[str, Any] = {"name": _tool_name(f"{field}.name", function.get("name"))}
    if function.get("description") is not None:
        found["description"] = budget.text(f"{field}.description", function["description"])
    if function.get("parameters") is not None:
        schema = _mapping(f"{field}.parameters", function["parameters"], "use a JSON schema as a dict")
        found["parameters"] = _plain(f"{field}.parameters", schema, budget)
    if function.get("strict") is not None and flag(f"{field}.strict", function["strict"]):
        refuse(f"{field}.strict", function["strict"], "leave it out; strict tools are not available yet")
    return {"type": "function", "function": found}


def _plain(field: str, value: object, budget: Budget, depth: int = 1) -> Any:
    """A private copy of JSON data, lists as tuples. Every part is paid for: shared parts cannot explode."""
    budget.take(field, 2)
    if isinstance(value, str):
        return budget.text(field, value)
    if isinstance(value, Mapping | list | tuple):
        if depth > _DEPTH:
            _too_deep(field)
        if isinstance(value, Mapping):
            return _plain_mapping(field, value, budget, depth)
        return tuple(_plain(field, item, budget, depth + 1) for item in value)
    if value is None or isinstance(value, bool):
        return value
    return _plain_number(field, value, budget)


def _plain_mapping(field: str, value: Mapping[Any, Any], budget: Budget, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        budget.take(field, 2)
        found[budget.text(field, key)] = _plain(field, item, budget, depth + 1)
    return found


def _plain_number(field: str, value: object, budget: Budget) -> int | float:
    budget.take(field, 8)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, int) and value.bit_length() <= 64:
        return int(value)
    refuse(field, value, "use JSON data: texts, finite numbers of 64 bits, bools, None, lists and dicts")


def _too_deep(field: str) -> NoReturn:
    raise InvalidRequest(f"{field} is nested too deeply: use at most {_DEPTH} levels", field=field)
