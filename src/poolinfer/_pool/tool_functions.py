"""Python functions as tools: described to the model by their signature and docstring, called with its arguments."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any, NamedTuple, TypeAlias, cast, get_args, get_origin

from typing_extensions import NotRequired, TypedDict, get_type_hints

from .._checks.refusals import refuse
from .._checks.tools import tool_name
from .._data.answer_types import parse_answer, schema_of_type
from .._data.errors import InvalidRequest, ParseError
from .._data.results import ToolCall
from .docstrings import described

#: A tool: a Python function, or the OpenAI-shaped description of one.
Tool: TypeAlias = Callable[..., Any] | Mapping[str, Any]

#: Seconds after which an async function that nobody waits for any more is cancelled.
_LATER = 0.5
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
        self._descriptions: list[str] = []
        self.specs: list[Mapping[str, Any]] = []
        for i, tool in enumerate(tools):
            if isinstance(tool, Mapping):
                self._descriptions.append(f"tools[{i}]")
                self.specs.append(tool)
                continue
            function = _Function(f"tools[{i}]", tool)
            self._functions[function.name] = function
            self.specs.append(function.spec)

    def check_callable(self) -> None:
        """Refuse tools that nobody here can call.

        Raises:
            InvalidRequest: a tool is only a description.
        """
        for field in self._descriptions:
            raise InvalidRequest(
                f"{field} is only a description, which run cannot call: give the function itself to session(..)"
                " or from_json(..), or use chat",
                field=field,
            )

    def is_async(self, name: str) -> bool:
        """Whether the function of this name is an async one."""
        function = self._functions.get(name)
        return function is not None and function.is_async

    def call(self, call: ToolCall, timeout: float | None = None) -> Outcome:
        """Call a function, on this thread; an async one in an asyncio loop of its own, for `timeout` seconds."""
        made = self._made(call)
        if isinstance(made, Outcome):
            return made
        function, values = made
        try:
            return _content(function.run(values, timeout))
        except Exception as error:
            return _failed(error)

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

    def _made(self, call: ToolCall) -> tuple[_Function, dict[str, Any]] | Outcome:
        """The function of a call and its arguments, or what is wrong with the call."""
        function = self._functions.get(call.name)
        if function is None:
            known = ", ".join(self._functions) or "none"
            return Outcome(f"error: there is no function {call.name!r}; there are: {known}", True)
        try:
            return function, function.values(call.arguments)
        except ParseError as error:
            return Outcome(f"error: the arguments do not fit: {error.message}", True)


class _Function:
    """A function that a model may call.

    Attributes:
        function: the function.
        name: the function's name.
        spec: the function's description, as `Chat.tools` takes it.
        is_async: whether it is an async function.
    """

    def __init__(self, field: str, function: Callable[..., Any]) -> None:
        if not callable(function) or isinstance(function, type):
            refuse(field, function, "use a function, or {'type': 'function', 'function': {...}}")
        self.function = function
        self.name = tool_name(f"{field}.__name__", getattr(function, "__name__", None))
        self.is_async = inspect.iscoroutinefunction(function)
        text = described(function)
        self._type = _arguments_type(field, self.name, function, text.parameters)
        parameters = _with_descriptions(self._schema(field), self._type)
        described_as = {"name": self.name, "description": text.summary, "parameters": parameters}
        self.spec: dict[str, Any] = {"type": "function", "function": described_as}

    def _schema(self, field: str) -> dict[str, Any]:
        """The JSON schema of the parameters."""
        try:
            schema = schema_of_type(self._type)
        except InvalidRequest as error:
            # The message begins with the option of a request, of which this is none.
            raise InvalidRequest(f"{field}: {self.name} {error.message}", field=field) from error
        definitions = schema.pop("$defs", {})
        own = definitions.pop(self.name, None) if "$ref" in schema else None
        schema = own or schema
        return {**schema, "$defs": definitions} if definitions else schema

    def values(self, arguments: str) -> dict[str, Any]:
        """The arguments of a call, from their JSON text.

        Raises:
            ParseError: the function does not take these.
        """
        return cast("dict[str, Any]", parse_answer(arguments, self._type))

    def run(self, values: Mapping[str, Any], timeout: float | None) -> Any:
        """Call the function; an async one in an asyncio loop of its own, for `timeout` seconds at most."""
        if not self.is_async:
            return self.function(**values)

        # Imported here, since it is slow to import, and few hosts have such functions.
        import asyncio

        async def work() -> Any:
            # Who waits for this thread gives up first, and says so.
            most = None if timeout is None else timeout + _LATER
            return await asyncio.wait_for(self.function(**values), most)

        return asyncio.run(work())


def _arguments_type(
    field: str, name: str, function: Callable[..., Any], descriptions: Mapping[str, str]
) -> Any:
    """The parameters of a function, as a typed dict.

    Raises:
        InvalidRequest: the function has parameters that cannot be given by name, or hints that cannot be read.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(function, include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        refuse(field, function, f"use a function with a signature ({error})")
    kinds: dict[str, Any] = {}
    for one in parameters:
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if one.kind not in _BY_NAME:
            refuse(f"{field}.{one.name}", function, "use a function whose parameters can be given by name")
        hint = hints.get(one.name, Any)
        if one.name in descriptions:
            hint = Annotated[hint, descriptions[one.name]]
        kinds[one.name] = hint if one.default is inspect.Parameter.empty else NotRequired[hint]
    return TypedDict(name, kinds)  # type: ignore[operator]  # the functional form, whose fields are not literals


def _with_descriptions(schema: dict[str, Any], kind: Any) -> dict[str, Any]:
    """A schema of parameters with their descriptions, which pydantic does not take from plain texts."""
    properties = dict(schema.get("properties", {}))
    for name, hint in get_type_hints(kind, include_extras=True).items():
        origin: Any = get_origin(hint)
        if origin is NotRequired:
            (hint,) = get_args(hint)
        said = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, str)]
        if said and "description" not in properties.get(name, {}):
            properties[name] = {**properties[name], "description": " ".join(said)}
    return {**schema, "properties": properties} if properties else schema


def _content(result: object) -> Outcome:
    """What a function returned, as text for the model: a str as it is, everything else as JSON."""
    if isinstance(result, str):
        return Outcome(result)
    return Outcome(json.dumps(result, ensure_ascii=False, default=_plain))


def _plain(value: object) -> object:
    """What `json` does not know, as what it knows; as its text at worst."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)


def _failed(error: Exception) -> Outcome:
    return Outcome(f"error: {type(error).__name__}: {error}", True)
