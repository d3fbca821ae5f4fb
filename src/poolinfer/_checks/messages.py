"""The messages of a chat, checked: turns, text parts, tool calls and their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .._data.errors import InvalidRequest
from .._data.prompt_builder import Prompt
from .budgets import ByteBudget, WorkBudget
from .limits import count
from .plain_data import is_one_of, json_object, mapping, nonempty, plain_object, refuse_other_keys, sequence
from .refusals import refuse, show
from .tools import check_function, tool_name

_ROLES = ("system", "developer", "user", "assistant", "tool")
#: What clients call an assistant's reasoning; the first that is there counts.
_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", *_REASONING_KEYS}
_CALL_KEYS = {"id", "type", "function", "index"}


def check_messages(prompt: object, work: WorkBudget) -> tuple[dict[str, Any], ...]:
    """The messages of a chat's prompt, as plain data."""
    budget = ByteBudget("prompt", work)
    if isinstance(prompt, str):
        return ({"role": "user", "content": nonempty("prompt", budget.checked_text("prompt", prompt))},)
    turns = sequence("prompt", _turns(prompt), "use a str, a list of message dicts or a Prompt")
    count("messages", len(turns))
    work.spend_items("messages", len(turns))
    found = tuple([_message(f"messages[{i}]", turn, budget) for i, turn in enumerate(turns)])
    if not any(turn["content"] or "tool_calls" in turn for turn in found):
        raise InvalidRequest("messages hold no text: give some text", field="messages")
    _check_ids(found)
    return found


def check_last(turns: Sequence[Mapping[str, Any]], continued: bool) -> None:
    """Refuse a chat whose last turn is an answer, unless that one is to be continued, and then any other turn.

    Raises:
        InvalidRequest: the last turn is the wrong one.
    """
    role = turns[-1]["role"]
    if continued and role != "assistant":
        refuse("continue_final_message", True, "end with the assistant message that is to be continued")
    if role == "assistant" and not continued:
        field = f"messages[{len(turns) - 1}].role"
        refuse(
            field, role, "end with a user or tool message, or have it continued: continue_final_message=True"
        )


def _turns(prompt: object) -> object:
    if not isinstance(prompt, Prompt):
        return prompt
    try:
        return prompt.messages
    except (TypeError, ValueError):
        refuse("prompt", prompt, "build it with Prompt.system(..).user(..)")


def _message(field: str, value: object, budget: ByteBudget) -> dict[str, Any]:
    turn = mapping(field, value, "use a dict with 'role' and 'content'")
    role = turn.get("role")
    if not is_one_of(role, _ROLES):
        refuse(f"{field}.role", role, f"use one of {', '.join(_ROLES)}")
    role = str.__str__(role)
    refuse_other_keys(field, turn, _MESSAGE_KEYS, budget.work)
    calls = _tool_calls(f"{field}.tool_calls", turn.get("tool_calls"), role, budget)
    content = turn.get("content")
    found: dict[str, Any] = {"role": role, "content": None}
    if content is not None or not calls:
        found["content"] = _content(f"{field}.content", content, budget)
    for key in ("name", "tool_call_id"):
        if turn.get(key) is not None:
            found[key] = budget.checked_text(f"{field}.{key}", turn[key])
    for key in _REASONING_KEYS:
        if turn.get(key) is not None:
            found["reasoning_content"] = budget.checked_text(f"{field}.{key}", turn[key])
            break
    if calls:
        found["tool_calls"] = calls
    return found


def _content(field: str, value: object, budget: ByteBudget) -> str | tuple[dict[str, str], ...]:
    """The content of a turn: a text, or several text parts, which templates may join in their own way."""
    if isinstance(value, str):
        return budget.checked_text(field, value)
    parts = sequence(field, value, "use a str or a list of text parts")
    count("parts", len(parts), field)
    budget.work.spend_items(field, len(parts))
    texts = [_part(f"{field}[{i}]", part, budget) for i, part in enumerate(parts)]
    if sum(map(bool, texts)) < 2:
        return "".join(texts)
    return tuple([{"type": "text", "text": text} for text in texts])


def _part(field: str, value: object, budget: ByteBudget) -> str:
    part = mapping(field, value, "use {'type': 'text', 'text': ...}")
    kind = part.get("type")
    if not is_one_of(kind, ("text",)):
        refuse(f"{field}.type", kind, "use 'text'; images and audio are not available yet")
    return budget.checked_text(f"{field}.text", part.get("text"))


def _tool_calls(field: str, value: object, role: str, budget: ByteBudget) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    calls = sequence(field, value, "use a list of tool calls")
    if calls and role != "assistant":
        refuse(field, value, "only assistant messages have tool calls")
    count("tools", len(calls), field)
    # A call, its function and its arguments.
    budget.work.spend_items(field, 3 * len(calls))
    return tuple([_tool_call(f"{field}[{i}]", call, budget) for i, call in enumerate(calls)])


def _tool_call(field: str, value: object, budget: ByteBudget) -> dict[str, Any]:
    call = mapping(field, value, "use {'id': ..., 'type': 'function', 'function': {...}}")
    function = check_function(field, call, _CALL_KEYS, {"name", "arguments"}, budget.work)
    found: dict[str, Any] = {"type": "function"}
    if call.get("id") is not None:
        found["id"] = budget.checked_text(f"{field}.id", call["id"])
    field = f"{field}.function"
    name = tool_name(f"{field}.name", function.get("name"))
    arguments = _arguments(f"{field}.arguments", function.get("arguments"), budget)
    found["function"] = {"name": name, "arguments": arguments}
    return found


def _arguments(field: str, value: object, budget: ByteBudget) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        return json_object(field, value, budget)
    return plain_object(field, value, "use a JSON object, as text or as a dict", budget)


def _check_ids(turns: tuple[Mapping[str, Any], ...]) -> None:
    """Refuse answers to tool calls that nobody has made, or that have one, and two calls of a turn with one id.

    Ids may be left out, or empty, as some clients and models do: the order says then what belongs together.
    """
    open_calls: Counter[str] = Counter()
    nameless = unanswered = 0
    for i, turn in enumerate(turns):
        if "tool_calls" in turn:
            own = _own_ids(f"messages[{i}].tool_calls", turn["tool_calls"])
            nameless = len(turn["tool_calls"]) - len(own)
            unanswered += len(turn["tool_calls"])
            open_calls.update(own)
        if turn["role"] != "tool":
            continue
        answered = turn.get("tool_call_id") or ""
        if answered and not open_calls[answered] and not nameless:
            refuse(f"messages[{i}].tool_call_id", answered, _id_remedy(answered, open_calls))
        if not unanswered:
            refuse(f"messages[{i}].role", "tool", "put the assistant message with its tool call before it")
        unanswered -= 1
        if open_calls[answered]:
            open_calls[answered] -= 1
        elif answered:
            nameless -= 1


def _own_ids(field: str, calls: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of one turn's calls, no two of them equal."""
    found: set[str] = set()
    for i, call in enumerate(calls):
        name = call.get("id")
        if name in found:
            refuse(f"{field}[{i}].id", name, "give every call of a turn an id of its own")
        if name:
            found.add(name)
    return found


def _id_remedy(answered: str, calls: Counter[str]) -> str:
    if answered in calls:
        return "give one tool message for each tool call"
    known = sorted(+calls)
    if not known:
        return "put the assistant message with this tool call before it"
    shown = ", ".join([show(name) for name in known[:3]])
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return f"use the id of an unanswered tool call before it: {shown}{more}"
