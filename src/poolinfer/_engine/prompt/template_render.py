"""What a chat template says of nobody's conversation, and whether a rendering leads into reasoning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..text.reasoning_format import ReasoningFormat
from .chat_template import ChatTemplate
from .sandbox.authored_text import FOREIGN, origin
from .sandbox.fuel import Fuel

#: The size of a conversation whose rendering may cost as much as all renderings from which formats are learned.
_SIZE = 256 * 1024
_NONE: Mapping[str, Any] = MappingProxyType({})


class TemplateRender:
    """Renders a chat template in order to learn from it (`formats.rendering.Render`).

    All renderings together may cost what one long conversation may; then the template refuses.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._fuel = Fuel(_SIZE, 0)

    @property
    def source(self) -> str:
        """The template."""
        return self._template.source

    def __call__(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        variables: Mapping[str, Any] = _NONE,
        add_generation_prompt: bool = False,
    ) -> str:
        """See `poolinfer._engine.prompt.formats.rendering.Render`."""
        rendered = self._template.render(
            messages,
            tools,
            variables=variables,
            add_generation_prompt=add_generation_prompt,
            fuel=self._fuel,
        )
        return str.__str__(rendered)


def opens_reasoning(rendered: str, format: ReasoningFormat, *, continued: bool) -> bool:
    """Whether a prompt ends inside a block of reasoning, whose mark nobody untrusted wrote.

    Args:
        rendered: the prompt.
        format: how the model reasons.
        continued: whether the prompt ends within an answer; then the block may have begun earlier.
    """
    text = str.__str__(rendered)
    ends = {text.rfind(mark.rstrip()) + len(mark.rstrip()): mark.rstrip() for mark in format.opens}
    end = max(ends, default=-1)
    if end < len(ends.get(end, "")) or (not continued and text[end:].strip()):
        return False
    if any(text.find(mark, end) >= 0 for mark in format.closes):
        return False
    return FOREIGN not in origin(rendered)[end - len(ends[end]) : end]
