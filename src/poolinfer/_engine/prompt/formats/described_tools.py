"""Telling a model of tools, calls and results in plain turns, where its chat template does not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...text.tool_format import ToolFormat
from ...text.tool_writer import written_calls
from ..sandbox.authored_text import FOREIGN, TRUSTED, join, written

#: A turn of a conversation.
_Turn = Mapping[str, Any]

_BEFORE_TOOLS = """\
You can call functions. These are the functions, with their parameters as JSON schemas:
<tools>
"""
_AFTER_TOOLS = """
</tools>
To call a function, write its name and its arguments as in this example, and nothing after it:
"""
_AFTER_EXAMPLE = """
The result is in the next turn, between <tool_response> and </tool_response>. Call a function where it helps."""
_EXAMPLE = ("example_function", {"first_parameter": "value"}, "123456789")


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
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    # The tools may be from anybody, and spell no token that the template's own text may spell.
    parts = [
        _BEFORE_TOOLS,
        written(listed, FOREIGN),
        _AFTER_TOOLS,
        written_calls(form, [_EXAMPLE]),
        _AFTER_EXAMPLE,
    ]
    rest = messages
    if messages[0]["role"] == "system":
        rest = messages[1:]
        if messages[0]["content"]:
            parts = [written(messages[0]["content"], TRUSTED), "\n\n", *parts]
    return [{"role": "system", "content": join(parts)}, *rest]


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
