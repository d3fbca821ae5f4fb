"""Python functions as tools: described to the model by their signature and docstring, called with its arguments."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from .._checks.refusals import refuse
from .._checks.tools import tool_name
from .._data.errors import InvalidRequest
from .._data.results import ToolCall
from .docstrings import described

#: A tool: a Python function, or the OpenAI-shaped description of one.
Tool: TypeAlias = Callable[..., Any] | Mapping[str, Any]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Outcome(NamedTuple):
    """What came of a call of a function.

    Attributes:
        content: what the model is told.
        error: whether something went wrong.
    """

    content: str
    error: bool = False


class ToolFunctions:
    """The tools of a session.

    Args:
        tools: functions, and descriptions of tools that the host calls itself.

    Attributes:
        given: the tools as they were given.
        specs: the tools as `Chat.tools` takes them.

    Raises:
        InvalidRequest: a function cannot be described.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
            refuse("tools", tools, "use a list of functions and of function tools")
        self.given = tuple(tools)
        self._functions: dict[str, _Function] = {}
        self.specs: list[Mapping[str, Any]] = []
        for i, tool in enumerate(tools):
            if isinstance(tool, Mapping):
                self.specs.append(tool)
                continue
            function = _Function(f"tools[{i}]", tool)
            self._functions[function.name] = function
            self.specs.append(function.spec)

    def is_async(self, name: str) -> bool:
        """Whether the function of this name is an async one."""
        function = self._functions.get(name)
        return function is not None and function.is_async

    def call(self, call: ToolCall) -> Outcome:
        """Call a function, on this thread; an async one in an event loop of its own."""
        return self._told(call, lambda function, values: function.run(values))

    async def acall(self, call: ToolCall) -> Outcome:
        """Call an async function."""
        made = self._made(call)
        if isinstance(made, Outcome):
            return made
        function, values = made
        try:
            return _content(await function.function(**values))
        except Exception as error:
            return _failed(error)

    def _told(self, call: ToolCall, run: Callable[[_Function, dict[str, Any]], Any]) -> Outcome:
        made = self._made(call)
        if isinstance(made, Outcome):
            return made
        try:
            return _content(run(*made))
        except Exception as error:
            return _failed(error)

    def _made(self, call: ToolCall) -> tuple[_Function, dict[str, Any]] | Outcome:
        """The function of a call and its arguments, or what is wrong with the call."""
        function = self._functions.get(call.name)
        if function is None:
            known = ", ".join(self._functions) or "none"
            return Outcome(f"error: there is no function {call.name!r}; there are: {known}", True)
        try:
            return function, function.values(call.arguments)
        except (ValueError, TypeError, RecursionError) as error:
            return Outcome(f"error: the arguments do not fit: {error}", True)
