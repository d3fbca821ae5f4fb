"""What learning needs of a chat template: its rendering of a conversation that nobody wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

_NONE: Mapping[str, Any] = MappingProxyType({})


class Render(Protocol):
    """Renders one chat template."""

    @property
    def source(self) -> str:
        """The template."""
        ...

    def __call__(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        variables: Mapping[str, Any] = _NONE,
        add_generation_prompt: bool = False,
    ) -> str:
        """The rendering as plain text.

        Args:
            messages: the turns.
            tools: the tools that are offered.
            variables: further variables for the template.
            add_generation_prompt: whether the rendering ends where an answer begins.

        Raises:
            InvalidRequest: the template refuses these messages.
        """
        ...
