"""`Prompt`: an immutable builder of chat messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar


class _Turn:
    """Adds a turn of one role; works on the class (starts a prompt) and on a prompt (extends it)."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __get__(self, prompt: Prompt | None, owner: type[Prompt]) -> Callable[[str], Prompt]:
        before = () if prompt is None else prompt.turns

        def add(content: str) -> Prompt:
            return owner((*before, (self._role, content)))

        return add


@dataclass(frozen=True, slots=True)
class Prompt:
    """Chat messages, built turn by turn; each step returns a new prompt.

    ``Prompt.system("Be brief.").user("Hello!")``

    Attributes:
        turns: the (role, content) pairs so far.
    """

    turns: tuple[tuple[str, str], ...] = ()

    #: Add a system turn: ``Prompt.system("Be brief.")``.
    system: ClassVar[_Turn] = _Turn("system")
    #: Add a user turn.
    user: ClassVar[_Turn] = _Turn("user")
    #: Add an assistant turn.
    assistant: ClassVar[_Turn] = _Turn("assistant")

    @property
    def messages(self) -> list[dict[str, object]]:
        """The turns as OpenAI-shaped message dicts."""
        return [{"role": role, "content": content} for role, content in self.turns]
