"""The variables that a chat template gets from a host, checked: plain JSON by names."""

from __future__ import annotations

from typing import Any

from .budgets import ByteBudget, WorkBudget
from .plain_data import plain_object
from .refusals import refuse

_FIELD = "chat_template_kwargs"
#: What a template gets from the request and the model; no variable may take its place.
_TAKEN = {
    "messages": "give them as prompt",
    "tools": "give them as tools=",
    "add_generation_prompt": "leave it out; continue_final_message=True is its counterpart",
    "bos_token": "leave it out; the model has its own",
    "eos_token": "leave it out; the model has its own",
}


def check_variables(value: object, work: WorkBudget) -> dict[str, Any] | None:
    """The variables as plain data; None, and a dict of none, stand for none.

    Raises:
        InvalidRequest: the variables are no JSON data or too many bytes, or take the place of something else.
    """
    if value is None:
        return None
    remedy = "use a dict of the template's variables by their names"
    found = plain_object(_FIELD, value, remedy, ByteBudget(_FIELD, work))
    for name in found:
        if name in _TAKEN:
            refuse(f"{_FIELD}[{name!r}]", found[name], _TAKEN[name])
    return found or None
