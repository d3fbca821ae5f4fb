"""How a model spells what is not plain answer: its tool calls and its reasoning."""

from __future__ import annotations

from dataclasses import dataclass

from .reasoning_format import THINK, ReasoningFormat
from .tool_format import HERMES, ToolFormat


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats of one model, learned from its chat template; frozen plain data.

    Attributes:
        tools: how tool calls are spelled; None where none are looked for.
        reasoning: how reasoning is spelled; None where none is looked for.
    """

    tools: ToolFormat | None = HERMES
    reasoning: ReasoningFormat | None = THINK
