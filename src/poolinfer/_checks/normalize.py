"""Requests as plain checked data: the one door through which a request reaches a pool (promise P2).

A request has *options* and *contents*. Options are small, and `option_checks` checks them. Contents may be large:
the messages and tools of a chat, the text to continue, the texts to embed or to rank,
and what an answer is held to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeAlias, get_args, get_origin

from .._data.requests import Chat, Generation, Raw, Request
from .._data.text_requests import Embed, Rerank
from .._data.token_requests import ApplyTemplate, Detokenize, Tokenize
from .budgets import TooLargeAtOnce, WorkBudget
from .constraints import CONSTRAINTS, constraint_of
from .messages import check_last, check_messages
from .option_checks import OptionCheck, check_of
from .refusals import refuse
from .template_variables import check_variables
from .texts import (
    check_documents,
    check_input,
    check_query,
    check_raw_prompt,
    check_suffix,
    check_text,
    check_token_ids,
)
from .together import check_options_together, check_passages, check_raw_together, check_tool_choice
from .tools import check_tools

#: Takes a field's value and what checking it may cost; gives the checked value, or raises `InvalidRequest`.
_ContentCheck: TypeAlias = Callable[[object, WorkBudget], Any]

_NAMES = [(get_origin(kind) or kind).__name__ for kind in get_args(Request)]
_KINDS = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"


def normalize(request: Request) -> Request:
    """A checked copy of a request, made of plain data that survives the wire.

    A chat's prompt becomes a tuple of message dicts, ``stop`` a tuple, every list a tuple.

    Raises:
        InvalidRequest: a field is not acceptable; ``.field`` names it.
    """
    values = _options(request)
    return type(request)(**values, **_contents(request, values, WorkBudget()))


def normalize_at_once(request: Request) -> tuple[Request, bool]:
    """What can be checked of a request in about a millisecond, and whether that is all of the request.

    Of a larger request, only the options are checked. Its contents are left for `normalize`; lists that the caller
    may add to are copied.

    Raises:
        InvalidRequest: a field is not acceptable; ``.field`` names it.
    """
    values = _options(request)
    try:
        return type(request)(**values, **_contents(request, values, WorkBudget(at_once=True))), True
    except TooLargeAtOnce:
        return type(request)(**values, **_unchecked_contents(request)), False


def _options(request: Request) -> dict[str, Any]:
    """The options of a request, checked; None stands for the default."""
    checks = _OPTIONS.get(type(request))
    if checks is None:
        refuse("request", request, f"use {_KINDS}")
    found: dict[str, Any] = {}
    for name, default, check in checks:
        value = getattr(request, name)
        chosen = default if value is None else value
        found[name] = None if chosen is None else check(name, chosen)
    if isinstance(request, Generation):
        found["logprobs"] = found["logprobs"] or found["top_logprobs"] > 0
        check_options_together(found)
    return found


def _contents(request: Request, options: Mapping[str, Any], work: WorkBudget) -> dict[str, Any]:
    """The contents of a request, checked."""
    checks = _CONTENTS[type(request)]
    found = {name: check(getattr(request, name), work) for name, check in checks.items()}
    if isinstance(request, Chat):
        check_last(found["prompt"], bool(request.continue_final_message))
        check_tool_choice(options["tool_choice"], found["tools"])
    if isinstance(request, ApplyTemplate):
        continues = options["continue_final_message"]
        if continues or options["add_generation_prompt"]:
            check_last(found["prompt"], continues)
    if isinstance(request, Raw):
        check_raw_together(options, found)
    if isinstance(request, Embed):
        check_passages(options, found)
    if isinstance(request, Generation):
        found |= dict.fromkeys(CONSTRAINTS)
        found["response_format"] = constraint_of(request, options, work)
    return found


def _unchecked_contents(request: Request) -> dict[str, Any]:
    """The contents of a request, unchecked, but not as the caller's own list or dict, which may grow."""
    names = [*_CONTENTS[type(request)], *(CONSTRAINTS if isinstance(request, Generation) else ())]
    found = ((name, getattr(request, name)) for name in names)
    return {
        name: tuple(value) if type(value) is list else dict(value) if type(value) is dict else value
        for name, value in found
    }


def _default(field: Field[Any]) -> object:
    return None if field.default is MISSING else field.default


#: Of each request, the contents.
_CONTENTS: Mapping[type[Any], Mapping[str, _ContentCheck]] = {
    Chat: {
        "tools": check_tools,
        "chat_template_kwargs": check_variables,
        "prompt": check_messages,
    },
    Raw: {"prompt": check_raw_prompt, "suffix": check_suffix},
    Embed: {"input": check_input},
    Rerank: {"query": check_query, "documents": check_documents},
    Tokenize: {"text": check_text},
    Detokenize: {"tokens": check_token_ids},
    ApplyTemplate: {
        "tools": check_tools,
        "chat_template_kwargs": check_variables,
        "prompt": check_messages,
    },
}
#: Of each request, the options: every other field but `CONSTRAINTS`, with its default and its check.
_OPTIONS: Mapping[type[Any], tuple[tuple[str, object, OptionCheck], ...]] = {
    kind: tuple(
        (field.name, _default(field), check_of(field))
        for field in fields(kind)
        if field.name not in contents and field.name not in CONSTRAINTS
    )
    for kind, contents in _CONTENTS.items()
}
