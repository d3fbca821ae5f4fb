"""What `Session.run` gives: each step of a run, and what the tools returned. Frozen plain data."""

from __future__ import annotations

from dataclasses import dataclass

from .results import Response, ToolCall


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of one tool call.

    Attributes:
        call: the tool call, as the model asked for it.
        content: the text that the model gets as the tool's answer: what the function returned, as text or as JSON,
            or what went wrong.
        error: whether something went wrong: the function raised, took too long, or could not be called.
        seconds: how long the function ran, in seconds of a monotonic clock.
    """

    call: ToolCall
    content: str
    error: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunStep:
    """One round of a run: an answer of the model, and the tools that were called for it.

    Attributes:
        response: the model's answer.
        results: what the tools returned, in the order of ``response.tool_calls``; empty for the last round.
    """

    response: Response
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolRun:
    """What came of `Session.run`.

    Attributes:
        steps: the rounds, the first one first. The last one has no tool calls.
    """

    steps: tuple[RunStep, ...]

    @property
    def response(self) -> Response:
        """The last answer of the model."""
        return self.steps[-1].response

    @property
    def answer(self) -> str:
        """The text of the last answer, without reasoning."""
        return self.response.answer
