"""Messages and tools as a chat template gets them: a rendering's own lists and dicts, each text with its author."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..._data.errors import InvalidRequest
from .sandbox.authored_text import FOREIGN, OWN, TRUSTED, written

#: Roles that a template may build into control tokens, and of these the ones whose user-defined tokens count.
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", "ipython"})
TRUSTED_ROLES = frozenset({"system", "developer", "assistant"})

#: What else templates call an assistant's reasoning.
REASONING = ("thinking", "reasoning")

# In these the keys come from callers; elsewhere poolinfer writes them.
_SCHEMAS = frozenset({"arguments", "parameters"})


class Turns:
    """Makes a template's messages and tools of requests.

    Attributes:
        size: characters and parts of all that was made.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        """`names` are those that the template reads: reasoning is given under each spelling that it knows."""
        self.size = 0
        known = "reasoning_content" in names
        self._reasoning = () if known else tuple(name for name in REASONING if name in names)

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Messages; what a known role is called is the template's own text.

        Raises:
            InvalidRequest: they are nested too deeply.
        """
        return [self._message(message) for message in messages]

    def tools(self, tools: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Tools, which anybody may have written.

        Raises:
            InvalidRequest: they are nested too deeply.
        """
        found: list[Any] = self._checked(tools, FOREIGN)
        return found

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        role = message.get("role")
        found: dict[str, Any] = self._checked(message, TRUSTED if role in TRUSTED_ROLES else FOREIGN)
        if role in ROLES:
            found["role"] = role
        if role == "assistant" and "reasoning_content" in found:
            self._add_reasoning(found)
        return found

    def _add_reasoning(self, message: dict[str, Any]) -> None:
        # A template of gpt-oss refuses a turn with tool calls that has both.
        if "thinking" in self._reasoning and message.get("content") and message.get("tool_calls"):
            return
        for name in self._reasoning:
            message.setdefault(name, message["reasoning_content"])

    def _checked(self, value: Any, by: int) -> Any:
        try:
            return self._thaw(value, by, OWN)
        except RecursionError:
            raise InvalidRequest("the messages or tools are nested too deeply", field="prompt") from None

    def _thaw(self, value: Any, by: int, keys: int) -> Any:
        self.size += 8
        if isinstance(value, str):
            self.size += len(value)
            return written(value, by)
        if isinstance(value, Mapping):
            return {
                written(key, keys): self._thaw(item, by, by if key in _SCHEMAS else keys)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._thaw(item, by, keys) for item in value]
        return value
