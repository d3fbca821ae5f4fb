"""Learning all formats of one chat template."""

from __future__ import annotations

from ...text.formats import Formats
from .reasoning_learning import learn_reasoning
from .rendering import Render
from .tool_learning import learn_tools


def learn_formats(render: Render, *, tools: bool) -> Formats:
    """How the model of a chat template spells its tool calls and its reasoning.

    Args:
        render: renders the template; where it refuses, the usual spelling is taken.
        tools: whether tools are offered; otherwise it is not asked how calls are spelled.
    """
    return Formats(learn_tools(render) if tools else None, learn_reasoning(render))
