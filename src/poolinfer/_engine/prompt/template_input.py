"""Messages and tools as a chat template gets them: lists and dicts of its own, each text with its author.

What a template needs otherwise than callers give it is mended here, in `TemplateInput`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..._data.errors import InvalidRequest
from .sandbox.authored_text import FOREIGN, OWN, TRUSTED, written

#: Roles whose names count as the template's own text: some templates make control tokens of them.
KNOWN_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", "ipython"})
#: Roles whose texts may spell user-defined tokens (``<think>``).
TRUSTED_ROLES = frozenset({"system", "developer", "assistant"})

#: What an assistant's reasoning is called in requests, and what else templates call it.
REASONING, OTHER_REASONING = "reasoning_content", ("thinking", "reasoning")
REASONING_NAMES = frozenset({REASONING, *OTHER_REASONING})

# In these the keys come from callers; elsewhere poolinfer writes them.
_CALLERS_KEYS = frozenset({"arguments", "parameters"})
# What an item costs in `size` beside its text.
_ITEM_SIZE = 8


class TemplateInput:
    """Makes the messages and tools of one rendering.

    Args:
        reasoning_names: the names under which the template reads an assistant's reasoning. If `REASONING` is not
            among them, the reasoning is given under each of the others.

    Attributes:
        size: characters of all that was made, and a few for each item.
    """

    def __init__(self, reasoning_names: Collection[str] = ()) -> None:
        self.size = 0
        others = [name for name in OTHER_REASONING if name in reasoning_names]
        self._aliases = () if REASONING in reasoning_names else tuple(others)

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The messages for a template.

        Raises:
            InvalidRequest: the messages are nested too deeply.
        """
        return [self._message(message) for message in messages]

    def tools(self, tools: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The tools for a template; anybody may have written them.

        Raises:
            InvalidRequest: the tools are nested too deeply.
        """
        found: list[Any] = self._copy(tools, FOREIGN)
        return found

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        role = message.get("role")
        found: dict[str, Any] = self._copy(message, TRUSTED if role in TRUSTED_ROLES else FOREIGN)
        if role in KNOWN_ROLES:
            found["role"] = role
        if role == "assistant" and REASONING in found:
            self._add_aliases(found)
        return found

    def _add_aliases(self, message: dict[str, Any]) -> None:
        """Give the reasoning of a message under the other names that the template reads."""
        # A template of gpt-oss refuses a turn with tool calls that has both.
        if "thinking" in self._aliases and message.get("content") and message.get("tool_calls"):
            return
        for name in self._aliases:
            message.setdefault(name, message[REASONING])

    def _copy(self, value: Any, by: int) -> Any:
        try:
            return self._copied(value, by, OWN)
        except RecursionError:
            raise InvalidRequest("the messages or tools are nested too deeply", field="prompt") from None

    def _copied(self, value: Any, by: int, keys_by: int) -> Any:
        """A copy of a value whose texts were written by one author, and its keys by another one."""
        self.size += _ITEM_SIZE
        if isinstance(value, str):
            self.size += len(value)
            return written(value, by)
        if isinstance(value, Mapping):
            return {
                written(key, keys_by): self._copied(item, by, by if key in _CALLERS_KEYS else keys_by)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._copied(item, by, keys_by) for item in value]
        return value
