"""Which guide a request needs: that of its schema or grammar, and that of its tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._data.errors import InvalidRequest
from ..._data.requests import Chat, Raw
from ..guide.guide import Guide
from ..guide.guide_grammar import grammar_of, lark_grammar
from ..guide.guides import Guides
from ..guide.lark_parts import LarkPart, reasoning_part
from ..guide.tool_grammar import tool_part
from ..prompt.prompter import PreparedPrompt


def offered(request: Chat) -> tuple[Mapping[str, Any], ...]:
    """The tools that a request offers to the model, as chat templates take them."""
    if request.tool_choice == "none":
        return ()
    return tuple(
        {**tool, "function": {key: value for key, value in tool["function"].items() if key != "strict"}}
        for tool in request.tools
    )


def guide_of(request: Chat | Raw, prepared: PreparedPrompt, guides: Guides) -> Guide | None:
    """The guide of a request's answer; None where the answer may be any text.

    Raises:
        InvalidRequest: a call of a tool is required, and it is not known how this model spells one.
        InvalidGrammar: no answer can be held to what is asked for.
    """
    constraint = request.constraint
    if isinstance(request, Raw):
        return None if constraint is None else guides.guide(grammar_of(constraint))
    guided = bool(request.tools) and request.tool_choice != "none"
    if constraint is None and not guided:
        return None
    before = reasoning_part(
        prepared.learned.formats.reasoning, opened=prepared.reasoning_open, vocabulary=guides.vocabulary
    )
    if constraint is not None:
        calls = _calls(request, prepared, guides, required=True) if guided else None
        return guides.guide(grammar_of(constraint, before, calls))
    calls = _calls(request, prepared, guides, required=request.tool_choice != "auto")
    return None if calls is None else guides.guide(lark_grammar("tools", before, calls))


def _calls(request: Chat, prepared: PreparedPrompt, guides: Guides, *, required: bool) -> LarkPart | None:
    """The calls that an answer may hold, or must."""
    choice, tools = request.tool_choice, request.tools
    if isinstance(choice, Mapping):
        name = choice["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == name]
    spelled = prepared.learned.formats.tools
    found = None
    if spelled is not None:
        several = request.parallel_tool_calls and not isinstance(choice, Mapping)
        found = tool_part(spelled, tools, guides.vocabulary, required=required, several=several)
    if found is None and required and choice != "auto":
        raise InvalidRequest(
            f"tool_choice is {choice!r}: calls in the spelling of this model cannot be forced; use 'auto'",
            field="tool_choice",
        )
    return found
