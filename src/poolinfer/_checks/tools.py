"""The tools of a chat, checked: functions with a name, a description and a JSON schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .budgets import ByteBudget, WorkBudget
from .limits import count
from .plain_data import flag, is_one_of, mapping, plain_object, refuse_other_keys, sequence
from .refusals import refuse
from .schemas import check_schema

_WRAPPED = "use {'type': 'function', 'function': {...}}"
_FUNCTION = f"{_WRAPPED}, or give functions to pool.session(tools=[...]), whose run(..) calls them"
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def check_tools(value: object, work: WorkBudget) -> tuple[dict[str, Any], ...]:
    """The tools as plain data, each with a name of its own; None stands for no tools."""
    if value is None:
        return ()
    tools = sequence("tools", value, "use a list of function tools")
    count("tools", len(tools))
    work.spend_items("tools", len(tools))
    budget = ByteBudget("tools_json", work)
    found = tuple([_tool(f"tools[{i}]", tool, budget) for i, tool in enumerate(tools)])
    names: set[str] = set()
    for i, tool in enumerate(found):
        name = tool["function"]["name"]
        if name in names:
            refuse(f"tools[{i}].function.name", name, "give every tool its own name")
        names.add(name)
    return found


def _tool(field: str, value: object, budget: ByteBudget) -> dict[str, Any]:
    tool = mapping(field, value, _FUNCTION if callable(value) else _WRAPPED)
    function = check_function(
        field, tool, {"type", "function"}, {"name", "description", "parameters", "strict"}, budget.work
    )
    field = f"{field}.function"
    found: dict[str, Any] = {"name": tool_name(f"{field}.name", function.get("name"))}
    if function.get("description") is not None:
        found["description"] = budget.checked_text(f"{field}.description", function["description"])
    if function.get("parameters") is not None:
        found["parameters"] = plain_object(
            f"{field}.parameters", function["parameters"], "use a JSON schema as a dict", budget
        )
    strict = None if function.get("strict") is None else flag(f"{field}.strict", function["strict"])
    if strict is not None:
        found["strict"] = strict
    if strict is not False and "parameters" in found:
        check_schema(f"{field}.parameters", found["parameters"], bool(strict))
    return {"type": "function", "function": found}


def check_function(
    field: str, value: Mapping[Any, Any], outer: set[str], inner: set[str], work: WorkBudget
) -> Mapping[Any, Any]:
    """The function of a tool or of a tool call.

    Args:
        field: what the tool or the call is, for messages.
        value: the tool or the call.
        outer: the keys that it may have.
        inner: the keys that its function may have.
        work: the budget of the whole request.

    Raises:
        InvalidRequest: there is no function, or another key.
    """
    kind = value.get("type")
    if kind is not None and not is_one_of(kind, ("function",)):
        refuse(f"{field}.type", kind, "use 'function'")
    # A function without what is around it: the mistake is not one key, but where it stands.
    refuse_other_keys(field, value, outer, work, "" if value.get("function") else _WRAPPED)
    function = mapping(f"{field}.function", value.get("function"), "use a dict with 'name'")
    refuse_other_keys(f"{field}.function", function, inner, work)
    return function


def tool_name(field: str, value: object) -> str:
    """The value, if it can be a function's name."""
    if not isinstance(value, str) or _TOOL_NAME.fullmatch(value) is None:
        refuse(field, value, "use 1 to 64 letters, digits, '_', '-' or '.'")
    return str.__str__(value)
