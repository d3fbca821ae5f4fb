"""Telling a model of tools, calls and results in plain turns, where its chat template does not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...text.tool_format import ToolFormat
from ...text.tool_writer import written_calls

#: A turn of a conversation.
_Turn = Mapping[str, Any]

_DESCRIPTION = """\
You can call functions. These are the functions, with their parameters as JSON schemas:
<tools>
{tools}
</tools>
To call a function, write its name and its arguments as in this example, and nothing after it:
{example}
You get the result in the next turn, between <tool_response> and </tool_response>. Call a function where it helps."""


def described(
    messages: Sequence[_Turn], tools: Sequence[Mapping[str, Any]], form: ToolFormat
) -> Sequence[_Turn]:
    """The turns with all that the chat template would leave out.

    Args:
        messages: the turns.
        tools: the tools that are offered.
        form: how the model spells calls, and what its template writes.
    """
    if not form.rendered:
        messages = _with_plain_calls(messages, form)
    return messages if form.offered else _with_description(messages, tools, form)


def _with_description(
    messages: Sequence[_Turn], tools: Sequence[Mapping[str, Any]], form: ToolFormat
) -> list[_Turn]:
    """The turns with a system turn that describes the tools."""
    example = written_calls(form, [("example_function", {"first_parameter": "value"}, "123456789")])
    text = _DESCRIPTION.format(
        tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools), example=example
    )
    first, rest = (messages[0], messages[1:]) if messages[0]["role"] == "system" else (None, messages)
    if first is not None and first["content"]:
        text = f"{first['content']}\n\n{text}"
    return [{"role": "system", "content": text}, *rest]


def _with_plain_calls(messages: Sequence[_Turn], form: ToolFormat) -> list[_Turn]:
    """The turns with calls in the text of answers, and their results in the text of the user's turns."""
    found: list[_Turn] = []
    for turn in messages:
        if turn["role"] == "tool":
            turn = {"role": "user", "content": f"<tool_response>\n{turn['content']}\n</tool_response>"}
        elif turn.get("tool_calls"):
            turn = _with_calls_in_text(turn, form)
        if found and turn["role"] == "user" and found[-1]["role"] == "user":
            turn = {**turn, "content": f"{found.pop()['content']}\n{turn['content']}"}
        found.append(turn)
    return found


def _with_calls_in_text(turn: _Turn, form: ToolFormat) -> _Turn:
    calls = [
        (call["function"]["name"], call["function"]["arguments"], call.get("id") or str(number))
        for number, call in enumerate(turn["tool_calls"])
    ]
    parts = [turn["content"], written_calls(form, calls)]
    rest = {key: value for key, value in turn.items() if key != "tool_calls"}
    return {**rest, "content": "\n".join(part for part in parts if part)}
