"""Calls that nobody made, and how a chat template renders them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ...._data.errors import InvalidRequest
from .marks import common_beginning, common_end
from .rendering import Render

SAID, ANSWER = "zqsaid", "zqanswer"
NAME, OTHER_NAME = "fnalpha", "fnbeta"
KEY, OTHER_KEY, VALUE, NUMBER = "keyone", "keytwo", "valxx", 77
ID, OTHER_ID = "zqidalph1", "zqidbeta2"
LONG_ID = "call_0123456789abcdefghijklmn"
ARGUMENTS: Mapping[str, Any] = MappingProxyType({KEY: VALUE, OTHER_KEY: NUMBER})
#: What values of the other types are rendered with, by their keys.
TYPED: Mapping[str, Any] = MappingProxyType(
    {"keybool": True, "keynull": None, "keylist": ["valin", 5], "keymap": {"keyin": "valup"}, KEY: VALUE}
)


def _tool(name: str) -> dict[str, Any]:
    properties = {
        KEY: {"type": "string", "description": "one"},
        OTHER_KEY: {"type": "integer", "description": "two"},
    }
    parameters = {"type": "object", "properties": properties, "required": [KEY]}
    return {"type": "function", "function": {"name": name, "description": "a tool", "parameters": parameters}}


TOOLS = (_tool(NAME), _tool(OTHER_NAME))
#: Marks of reasoning that a template writes where there is none.
_EMPTY_REASONING = re.compile(r"\A(?:<[^<>]*think[^<>]*>\s*)+", re.IGNORECASE)
#: Most characters of a rendering that is looked at.
MAX_TEXT = 64 * 1024
#: What some templates need besides; Firefunction takes its tools and the date as texts.
_VARIABLES: tuple[Mapping[str, Any], ...] = ({}, {"functions": "[]", "datetime": "today"})


@dataclass(frozen=True, slots=True)
class SampleCall:
    """A call that nobody made.

    Attributes:
        name: the name of the tool.
        arguments: what the tool is called with.
        id: the call's id.
    """

    name: str = NAME
    arguments: Mapping[str, Any] = field(default_factory=lambda: ARGUMENTS)
    id: str = ID


ONE = SampleCall()
OTHER = SampleCall(OTHER_NAME, {KEY: "valyy"}, OTHER_ID)


class Samples:
    """Renders turns with calls, and says where calls stand in them.

    Args:
        render: renders the template.

    Attributes:
        offered: whether the template tells the model of its tools.
        before: what a template writes before an answer.
        after: what it writes after an answer.
        closing: the part of `after` that follows the answer even where calls follow it.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._variables = next((known for known in _VARIABLES if self._rendered([], known)), {})
        self.offered = NAME in (self._offering() or "")
        self.before, _, self.after = (self.turn(ANSWER) or "").partition(ANSWER)
        _, _, mixed = (self.turn(ANSWER, ONE) or "").partition(ANSWER)
        self._mixed = mixed.partition(NAME)[0] if NAME in mixed else ""
        closing = common_beginning(self._mixed, self.after)
        self.closing = closing if self._mixed[len(closing) :][:1] in ("<", "[") else ""

    def turn(self, content: str, *calls: SampleCall) -> str | None:
        """An assistant's turn, rendered; None if the template refuses it."""
        turn: dict[str, Any] = {"role": "assistant", "content": content}
        if calls:
            turn["tool_calls"] = [
                {
                    "type": "function",
                    "id": call.id,
                    "function": {"name": call.name, "arguments": dict(call.arguments)},
                }
                for call in calls
            ]
        text = self._rendered([turn], self._variables)
        return None if text is None else text[text.rfind(SAID) + len(SAID) :]

    def opening(self, text: str) -> str:
        """What stands in a turn without text from the beginning of its calls to the first name."""
        place = text.find(NAME)
        before = _EMPTY_REASONING.sub("", text[len(common_beginning(text, self.before)) : place].lstrip())
        mixed = self._mixed.removeprefix(self.closing).lstrip()
        return mixed if mixed and len(mixed) < len(before) and before.endswith(mixed) else before

    def ending(self, text: str) -> str:
        """The end of a turn with calls, less what ends every turn."""
        text, end = text.rstrip(), self.after.removeprefix(self.closing).rstrip()
        if end and text.endswith(end):
            return text.removesuffix(end)
        return text.removesuffix(common_end(text, self.after.rstrip()))

    def _offering(self) -> str | None:
        return self._rendered([], self._variables)

    def _rendered(self, turns: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str | None:
        try:
            text = self._render([{"role": "user", "content": SAID}, *turns], TOOLS, variables=variables)
        except InvalidRequest:
            return None
        return text if len(text) <= MAX_TEXT else None
