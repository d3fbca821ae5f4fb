"""Messages, tools and variables as a chat template gets them: copies of its own, each text with its author."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..._data.errors import InvalidRequest
from .sandbox.authored_text import FOREIGN, OWN, TRUSTED, AuthoredText, written

#: Roles whose names count as the template's own text: some templates make control tokens of them.
KNOWN_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", "ipython"})
#: Roles whose texts may spell user-defined tokens (``<think>``).
TRUSTED_ROLES = frozenset({"system", "developer", "assistant"})

# In these the keys come from callers; elsewhere poolinfer writes them.
_CALLERS_KEYS = frozenset({"arguments", "parameters"})
# What an item costs in `size` beside its text.
_ITEM_SIZE = 8


class TemplateInput:
    """Makes the messages, tools and variables of one rendering, which may change them as it likes.

    Attributes:
        size: characters of all that was made, and a few for each item.
    """

    def __init__(self) -> None:
        self.size = 0

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
        found: list[Any] = self._copy(tools, FOREIGN, OWN)
        return found

    def variables(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Further variables for a template by their names; anybody may have written them.

        Raises:
            InvalidRequest: the variables are nested too deeply.
        """
        return {str(name): self._copy(value, FOREIGN, FOREIGN) for name, value in variables.items()}

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        role = message.get("role")
        found: dict[str, Any] = self._copy(message, TRUSTED if role in TRUSTED_ROLES else FOREIGN, OWN)
        if role in KNOWN_ROLES:
            found["role"] = role
        return found

    def _copy(self, value: Any, by: int, keys_by: int) -> Any:
        try:
            return self._copied(value, by, keys_by)
        except RecursionError:
            raise InvalidRequest("the messages or tools are nested too deeply", field="prompt") from None

    def _copied(self, value: Any, by: int, keys_by: int) -> Any:
        """A copy of a value whose texts were written by one author, and its keys by another one."""
        self.size += _ITEM_SIZE
        if isinstance(value, str):
            self.size += len(value)
            # Turns that poolinfer wrote know their authors already.
            return value if isinstance(value, AuthoredText) else written(value, by)
        if isinstance(value, Mapping):
            return {
                written(key, keys_by): self._copied(item, by, by if key in _CALLERS_KEYS else keys_by)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._copied(item, by, keys_by) for item in value]
        return value
