"""Repairs of messages: what a chat template needs otherwise than callers give it.

Which repairs a template needs is found out once, by rendering small probes through it. A repair is made only where
the template fails without it, or leaves out or garbles what a caller said. So a conversation that renders well is
rendered as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

from .sandbox import serializers
from .sandbox.authored_text import join
from .sandbox.fuel import Pay

#: Renders a probe: messages and tools; None where the template refuses them.
ProbeRender: TypeAlias = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], "str | None"]

#: What an assistant's reasoning is called in requests.
REASONING = "reasoning_content"
#: Another name for it, under which every template gets it, as with transformers.
THINKING = "thinking"
#: A name that a template gets only if it reads neither of the other two.
OTHER_REASONING = "reasoning"

# Two words: a text is shown if the one renders otherwise than the other, whatever a template does to it.
_WORD, _OTHER = "Qxone", "Qxtwo"
_NAME = "qxfunction"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Does it.",
        "parameters": {"type": "object", "properties": {"qxkey": {"type": "string"}}, "required": ["qxkey"]},
    },
}
# Mistral's templates take ids of nine letters and digits only.
_ID = "qxcall123"
_USER = {"role": "user", "content": "Qxsaid"}
_ANSWER = {"role": "tool", "content": "Qxresult", "name": _NAME, "tool_call_id": _ID}


@dataclass(frozen=True, slots=True)
class Repairs:
    """What is changed in messages before one template gets them.

    Attributes:
        parts_as_text: text parts are joined to one text.
        developer_as_system: developer turns become system turns.
        system_in_user: system turns are put before the next user turn's text.
        arguments_as_text: the arguments of tool calls become JSON text.
        none_as_empty: a turn with tool calls and no content gets an empty text.
        empty_as_none: a turn with tool calls and an empty text gets no content.
        thinking_or_content: a turn with tool calls and content has its reasoning under one name only, since the
            template refuses the other one beside content.
        reasoning_elsewhere: reasoning is given as `OTHER_REASONING`, too.
    """

    parts_as_text: bool = False
    developer_as_system: bool = False
    system_in_user: bool = False
    arguments_as_text: bool = False
    none_as_empty: bool = False
    empty_as_none: bool = False
    thinking_or_content: bool = False
    reasoning_elsewhere: bool = False

    def mended(self, messages: Sequence[dict[str, Any]], pay: Pay) -> list[dict[str, Any]]:
        """The messages as the template needs them. They are changed in place, and keep the authors of all texts."""
        for message in messages:
            if self.parts_as_text and isinstance(message.get("content"), list):
                parts = [part["text"] for part in message["content"]]
                pay(sum(map(len, parts)))
                message["content"] = join(parts)
            if self.developer_as_system and message.get("role") == "developer":
                message["role"] = "system"
            if message.get("tool_calls"):
                self._mend_calls(message, pay)
        found = [self._with_aliases(message) for message in messages]
        return _without_system(found, pay) if self.system_in_user else found

    def _mend_calls(self, message: dict[str, Any], pay: Pay) -> None:
        content = message.get("content")
        if content is None and self.none_as_empty:
            message["content"] = ""
        elif content == "" and self.empty_as_none:
            message["content"] = None
        if self.arguments_as_text:
            for call in message["tool_calls"]:
                call["function"]["arguments"] = serializers.json(pay, call["function"]["arguments"])

    def _with_aliases(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message with its reasoning under all names that templates read, in the order of transformers."""
        reasoning = message.get(REASONING)
        if reasoning is None or message.get("role") != "assistant":
            return message
        if not (self.thinking_or_content and message.get("content") and message.get("tool_calls")):
            message = {THINKING: reasoning, **message}
        if self.reasoning_elsewhere:
            message[OTHER_REASONING] = reasoning
        return message


def _without_system(messages: Sequence[dict[str, Any]], pay: Pay) -> list[dict[str, Any]]:
    """The messages with the text of each system turn before that of the next user turn, or as a turn of its own."""
    found: list[dict[str, Any]] = []
    waiting: list[str] = []
    for message in messages:
        if message.get("role") == "system":
            waiting.append(_text(message, pay))
            continue
        if waiting and message.get("role") == "user":
            texts = [*waiting, _text(message, pay)]
            pay(sum(map(len, texts)))
            message["content"] = join(texts, "\n\n")
            waiting = []
        found.append(message)
    if waiting:
        found.append({"role": "user", "content": join(waiting, "\n\n")})
    return found


def _text(message: Mapping[str, Any], pay: Pay) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = [part["text"] for part in content]
        pay(sum(map(len, parts)))
        return join(parts)
    return content if isinstance(content, str) else ""


def learn_repairs(render: ProbeRender, names_read: Set[str]) -> Repairs:
    """The repairs that a template needs.

    Args:
        render: renders a probe through the template.
        names_read: the names of which the template reads some of a message.
    """
    # Some templates (Hermes's, Command-R's of the name ``tool_use``) render nothing unless tools are offered.
    plain = render([_USER], ())
    tools: tuple[Mapping[str, Any], ...] = ()
    if plain is None:
        tools, plain = (_TOOL,), render([_USER], (_TOOL,))
    if plain is None:
        return Repairs(reasoning_elsewhere=_reads_only_other(names_read))

    def shows(role: str) -> bool:
        one, other = (render([{"role": role, "content": word}, _USER], tools) for word in (_WORD, _OTHER))
        return one is not None and one != other

    parts = [{"role": "user", "content": [{"type": "text", "text": _USER["content"]}]}]
    calls = _CallProbes(render)
    return Repairs(
        parts_as_text=render(parts, tools) != plain,
        developer_as_system=not shows("developer"),
        system_in_user=not shows("system"),
        arguments_as_text=calls.as_text,
        none_as_empty=calls.none_as_empty,
        empty_as_none=calls.empty_as_none,
        thinking_or_content=calls.thinking_or_content,
        reasoning_elsewhere=_reads_only_other(names_read),
    )


def _reads_only_other(names_read: Set[str]) -> bool:
    return OTHER_REASONING in names_read and names_read.isdisjoint((REASONING, THINKING))


class _CallProbes:
    """What a template makes of a turn with a tool call, by the forms of its content and arguments."""

    def __init__(self, render: ProbeRender) -> None:
        self._render = render
        self._texts: dict[tuple[object, ...], str | None] = {}
        self.as_text = self._needs_text()
        empty, none = self._works("", self.as_text), self._works(None, self.as_text)
        self.none_as_empty = not none and (empty or not self._is_clean(None, self.as_text))
        self.empty_as_none = none and not empty
        one, both = (REASONING,), (REASONING, THINKING)
        self.thinking_or_content = (
            self._rendered(_WORD, self.as_text, names=both) is None
            and self._rendered(_WORD, self.as_text, names=one) is not None
        )

    def _needs_text(self) -> bool:
        if self._works("", False) or self._works(None, False):
            return False
        return self._works("", True) or self._works(None, True)

    def _works(self, content: str | None, as_text: bool) -> bool:
        """Whether the call is shown, and nothing else than the call."""
        text = self._rendered(content, as_text)
        return text != self._rendered(content, as_text, _OTHER) and self._is_clean(content, as_text)

    def _is_clean(self, content: str | None, as_text: bool) -> bool:
        """Whether the template renders the turn, and shows no ``None`` for a content that is not there."""
        text = self._rendered(content, as_text)
        if text is None or content is not None:
            return text is not None
        other = self._rendered("", as_text)
        return text.count("None") <= (0 if other is None else other.count("None"))

    def _rendered(
        self, content: str | None, as_text: bool, value: str = _WORD, names: tuple[str, ...] = ()
    ) -> str | None:
        """A question, a call with an argument of that value and reasoning under those names, and its result."""
        key = content, as_text, value, names
        if key not in self._texts:
            arguments: Any = f'{{"qxkey": "{value}"}}' if as_text else {"qxkey": value}
            call = {"type": "function", "id": _ID, "function": {"name": _NAME, "arguments": arguments}}
            turn: dict[str, Any] = {"role": "assistant", "content": content, "tool_calls": [call]}
            turn.update(dict.fromkeys(names, "Qxthought"))
            self._texts[key] = self._render([_USER, turn, _ANSWER], (_TOOL,))
        return self._texts[key]
