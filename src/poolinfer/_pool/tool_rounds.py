"""The rounds of a run: tools that a model asks for are called, and what they return becomes the next turns."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio

from .._checks.limits import number
from .._data.errors import TooManyRounds
from .._data.results import Response, ToolCall
from .._data.tool_runs import RunStep, ToolResult
from .._system.threads import OwnThread
from .tool_functions import Outcome, ToolFunctions
from .wakers import Wake, loop_waker


class Rounds:
    """The rounds of one run.

    Args:
        tools: the functions that may be called.
        max_rounds: most answers of the model.
        timeout: seconds that a tool may take; None for no bound.

    Attributes:
        steps: the rounds so far.

    Raises:
        InvalidRequest: a number is out of bounds, or a tool is only a description.
    """

    def __init__(self, tools: ToolFunctions, max_rounds: int, timeout: float | None) -> None:
        tools.check_callable()
        number("max_rounds", max_rounds)
        number("tool_timeout", timeout)
        self.steps: list[RunStep] = []
        self._tools = tools
        self._max_rounds = max_rounds
        self._timeout = timeout

    def calls_of(self, response: Response) -> tuple[ToolCall, ...] | None:
        """The tool calls of an answer, or None where there are none, which ends the run."""
        if response.tool_calls:
            return response.tool_calls
        self.steps.append(RunStep(response))
        return None

    def run(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Call tools at the same time, each on a thread of its own; their results in the order of the calls."""
        if self._is_last:
            return [self._refused(call) for call in calls]
        threads = [_ToolThread(self._tools, call, self._timeout) for call in calls]
        ends = None if self._timeout is None else time.monotonic() + self._timeout
        return [one.result(ends, self._timeout) for one in threads]

    async def arun(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """`run` for async code: async functions run in this event loop, sync ones on threads."""
        if self._is_last:
            return [self._refused(call) for call in calls]
        found: dict[int, ToolResult] = {}

        async def work(i: int, call: ToolCall) -> None:
            found[i] = await (self._awaited(call) if self._tools.is_async(call.name) else self._joined(call))

        async with anyio.create_task_group() as group:
            for i, call in enumerate(calls):
                group.start_soon(work, i, call)
        return [found[i] for i in range(len(calls))]

    async def _awaited(self, call: ToolCall) -> ToolResult:
        """Call an async function."""
        began = time.monotonic()
        outcome = _too_late(self._timeout)
        with anyio.move_on_after(self._timeout):
            outcome = await self._tools.acall(call)
        return ToolResult(call, *outcome, time.monotonic() - began)

    async def _joined(self, call: ToolCall) -> ToolResult:
        """Call a sync function on a thread of its own, which does not keep the process from ending."""
        ended, wake = loop_waker()
        thread = _ToolThread(self._tools, call, self._timeout, wake)
        with anyio.move_on_after(self._timeout):
            await ended.wait()
        return thread.result(time.monotonic(), self._timeout)

    def note(self, response: Response, results: Sequence[ToolResult]) -> list[dict[str, Any]]:
        """Add a round; returns the turns that tell the model what the tools returned."""
        self.steps.append(RunStep(response, tuple(results)))
        return [
            {"role": "tool", "tool_call_id": result.call.id, "content": result.content} for result in results
        ]

    def check(self) -> None:
        """Refuse another round after the last one.

        Raises:
            TooManyRounds: there were as many rounds as there may be.
        """
        if len(self.steps) >= self._max_rounds:
            raise TooManyRounds(
                f"the model still asks for tools after {self._max_rounds} answers; give a larger max_rounds",
                partial=self.steps[-1].response.text,
                rounds=self._max_rounds,
            )

    @property
    def _is_last(self) -> bool:
        return len(self.steps) + 1 >= self._max_rounds

    def _refused(self, call: ToolCall) -> ToolResult:
        """Every tool call gets an answer, so that the history stays one that a template takes."""
        return ToolResult(call, f"error: {call.name} was not called, as there were too many rounds", True)


class _ToolThread:
    """A tool that runs on a thread of its own, with the context variables of the thread that started it."""

    def __init__(
        self, tools: ToolFunctions, call: ToolCall, timeout: float | None, wake: Wake | None = None
    ) -> None:
        self._call = call
        self._wake = wake
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self._seconds = 0.0
        context = contextvars.copy_context()
        name = f"poolinfer-tool-{call.name}"
        OwnThread(lambda: context.run(self._run, tools, timeout), name).start()

    def _run(self, tools: ToolFunctions, timeout: float | None) -> None:
        try:
            self._outcome = tools.call(self._call, timeout)
        except BaseException as error:  # SystemExit and the like are for the thread that waits
            self._error = error
        finally:
            self._seconds = time.monotonic() - self._began
            self._ended.set()
            if self._wake is not None:
                # The event loop may have ended meanwhile.
                with suppress(RuntimeError):
                    self._wake()

    def result(self, ends: float | None, timeout: float | None) -> ToolResult:
        """Wait for the end, at most until `ends`."""
        left = threading.TIMEOUT_MAX if ends is None else max(0.0, ends - time.monotonic())
        if not self._ended.wait(left):
            return ToolResult(self._call, *_too_late(timeout), time.monotonic() - self._began)
        if self._error is not None:
            raise self._error
        if self._outcome is None:
            raise RuntimeError("a tool's thread ended without an outcome")
        return ToolResult(self._call, *self._outcome, self._seconds)


def _too_late(timeout: float | None) -> Outcome:
    return Outcome(f"error: the tool did not answer within {timeout} s", True)
