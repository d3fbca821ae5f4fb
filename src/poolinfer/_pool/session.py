"""`Session`: a chat that keeps its turns, and calls the tools that the model asks for."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias, cast

from typing_extensions import Unpack

from .._checks.budgets import ByteBudget, WorkBudget
from .._checks.limits import LIMITS
from .._checks.normalize import normalize_at_once
from .._checks.plain_data import json_object
from .._checks.refusals import refuse
from .._data.errors import InvalidRequest
from .._data.prompt_builder import ChatInput, Prompt
from .._data.requests import Chat, TurnOptions
from .._data.results import Response
from .._data.tool_runs import RunStep, ToolRun
from .call import Call
from .tool_functions import Tool, ToolFunctions
from .tool_rounds import Rounds

_Message: TypeAlias = dict[str, Any]
#: The version of what `Session.to_json` writes.
_FORMAT = 1
_ARUN = "`await arun(..)`"


class Answers(Protocol):
    """What answers the turns of a session: a `Pool` or a `Model`."""

    def submit(self, request: Chat, /) -> Call[Response]:
        """See `Pool.submit`."""
        ...


class Session:
    """A chat that keeps its turns. Each turn is one call of the pool, whose prompt is all turns so far.

    Made by ``pool.session(..)``. A turn joins the history when its call has ended well; a turn that failed or was
    cancelled leaves no trace. One turn runs at a time. All methods may be called from any thread.

    A turn pays only for what is new: the pool finds what it has computed already, as long as that is resident.

    Args:
        pool: the pool, or the model, that answers.
        system: text of the system turn; None for none.
        messages: turns to begin with, as `Chat.prompt` takes them.
        tools: tools that the model may call: Python functions, and OpenAI-shaped dicts.
        options: options of `Chat` for every turn.

    Raises:
        InvalidRequest: an option is unknown or out of bounds, or a tool cannot be described.
    """

    def __init__(
        self,
        pool: Answers,
        *,
        system: str | None = None,
        messages: ChatInput = (),
        tools: Sequence[Tool] = (),
        **options: Unpack[TurnOptions],
    ) -> None:
        self._pool = pool
        self._tools = ToolFunctions(tools)
        self._options = options
        self._lock = threading.Lock()
        self._messages: list[_Message] = []
        self._turn: tuple[list[_Message], Call[Response]] | None = None
        if system is not None:
            self._messages += _turns(Prompt.system(system))
        self._messages += _turns(messages)
        # An option that no turn could have is refused now, and not at the first turn.
        normalize_at_once(Chat("x", tools=self._tools.specs, **options))

    @property
    def messages(self) -> list[_Message]:
        """The turns so far, as OpenAI-shaped message dicts; a copy."""
        with self._lock:
            self._settle()
            return copy.deepcopy(self._messages)

    def chat(self, prompt: ChatInput | None = None, **options: Unpack[TurnOptions]) -> Response:
        """Answer the next turn and wait for it.

        Args:
            prompt: text of a user turn, or several turns, such as the answers to tool calls. None to ask for an
                answer to the turns so far.
            options: options of `Chat` for this turn; they win over those of the session.

        Raises:
            InvalidRequest: the turn before this one is still running, or see `Pool.submit`.
            Exception: what `Call.result` raises. The history is as it was before.
        """
        return self.stream(prompt, **options)._answer("`await achat(..)`")

    async def achat(self, prompt: ChatInput | None = None, **options: Unpack[TurnOptions]) -> Response:
        """`chat` for async code (asyncio and trio)."""
        return await self.stream(prompt, **options)

    def stream(self, prompt: ChatInput | None = None, **options: Unpack[TurnOptions]) -> Call[Response]:
        """Start the next turn and return its call, to read chunk by chunk or to wait for.

        Raises:
            InvalidRequest: the turn before this one is still running, or see `Pool.submit`.
        """
        new = [] if prompt is None else _turns(prompt)
        if "tools" in options:
            tools = cast("Mapping[str, object]", options)["tools"]
            refuse("tools", tools, "give tools to pool.session(..), whose turns all have them")
        with self._lock:
            self._settle()
            if self._turn is not None:
                raise InvalidRequest(
                    "prompt: the session's turn before this one is still running;"
                    " wait for its call, cancel it, or fork() the session",
                    field="prompt",
                )
            merged = cast("TurnOptions", {**self._options, **options})
            call = self._pool.submit(Chat([*self._messages, *new], tools=self._tools.specs, **merged))
            self._turn = new, call
        return call

    def run(
        self,
        prompt: ChatInput | None = None,
        *,
        max_rounds: int = 8,
        tool_timeout: float | None = 60.0,
        on_step: Callable[[RunStep], object] | None = None,
        **options: Unpack[TurnOptions],
    ) -> ToolRun:
        """Answer the next turn, and call the tools that the model asks for, until it asks for no more.

        The tools of one round run at the same time, each on a thread of its own; an async function runs in an
        event loop of its own there. What a tool raises is told to the model, which may try again.

        Args:
            prompt: as for `chat`.
            max_rounds: most answers of the model.
            tool_timeout: seconds that a tool may take; None for no bound. A sync function cannot be stopped: its
                thread goes on, and what it returns is dropped.
            on_step: called after each round with its `RunStep`.
            options: as for `chat`.

        Raises:
            TooManyRounds: the model still asks for tools after `max_rounds` answers.
            InvalidRequest: a tool is only a description, or see `Pool.submit`.
            Exception: as for `chat`. The history keeps the rounds before.
        """
        rounds = Rounds(self._tools, max_rounds, tool_timeout)
        response = self.stream(prompt, **options)._answer(_ARUN)
        while (calls := rounds.calls_of(response)) is not None:
            results = rounds.run(calls)
            self._add(rounds.note(response, results))
            if on_step is not None:
                on_step(rounds.steps[-1])
            rounds.check()
            response = self.stream(**options)._answer(_ARUN)
        if on_step is not None:
            on_step(rounds.steps[-1])
        return ToolRun(tuple(rounds.steps))

    async def arun(
        self,
        prompt: ChatInput | None = None,
        *,
        max_rounds: int = 8,
        tool_timeout: float | None = 60.0,
        on_step: Callable[[RunStep], object] | None = None,
        **options: Unpack[TurnOptions],
    ) -> ToolRun:
        """`run` for async code (asyncio and trio). Async functions run in this event loop, sync ones on threads."""
        rounds = Rounds(self._tools, max_rounds, tool_timeout)
        response = await self.achat(prompt, **options)
        while (calls := rounds.calls_of(response)) is not None:
            results = await rounds.arun(calls)
            self._add(rounds.note(response, results))
            if on_step is not None:
                on_step(rounds.steps[-1])
            rounds.check()
            response = await self.achat(**options)
        if on_step is not None:
            on_step(rounds.steps[-1])
        return ToolRun(tuple(rounds.steps))

    def fork(self) -> Session:
        """A session of its own with the same turns, tools and options. A turn that is running is not among them."""
        with self._lock:
            self._settle()
            return self._like(self._messages)

    def to_json(self) -> str:
        """The turns, tools and options as JSON text, for `from_json`. Of functions, only descriptions are kept.

        Raises:
            InvalidRequest: an option of the session is not plain data.
        """
        data = {
            "poolinfer_session": _FORMAT,
            "messages": self.messages,
            "tools": self._tools.specs,
            "options": self._options,
        }
        try:
            return json.dumps(data, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(
                f"options: they cannot become JSON ({error}); give this option to each turn instead",
                field="options",
            ) from error

    @classmethod
    def from_json(cls, text: str, pool: Answers, *, tools: Sequence[Tool] | None = None) -> Session:
        """The session that `to_json` wrote, on a pool of this process.

        Args:
            text: what `to_json` returned.
            pool: the pool, or the model, that answers.
            tools: the tools, functions among them; None for those in the text, which are only descriptions.

        Raises:
            InvalidRequest: the text is no session, or too large.
        """
        data = _session_data(text)
        given = data["tools"] if tools is None else tools
        try:
            return cls(pool, messages=data["messages"], tools=given, **data["options"])
        except TypeError as error:  # an option of this name is an argument of the session
            refuse("text", text, f"give what Session.to_json returned ({error})")

    def _settle(self) -> None:
        """Take the last turn into the history if its call has ended well, and forget it if it has ended badly."""
        if self._turn is None or not self._turn[1].done():
            return
        (new, call), self._turn = self._turn, None
        if call.exception(0) is None:
            self._messages += [*new, _message(call.result(0))]

    def _add(self, messages: Sequence[_Message]) -> None:
        with self._lock:
            self._settle()
            self._messages += messages

    def _like(self, messages: Sequence[_Message]) -> Session:
        return Session(self._pool, messages=messages, tools=self._tools.given, **self._options)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Session belongs to its pool and cannot be pickled or copied; use fork() or to_json()"
        )

    def __repr__(self) -> str:
        return f"<Session of {len(self.messages)} messages>"


def _turns(prompt: ChatInput) -> list[_Message]:
    """A prompt as message dicts of our own."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, Prompt):
        return [dict(message) for message in prompt.messages]
    if isinstance(prompt, Mapping) or not isinstance(prompt, Sequence):
        refuse("prompt", prompt, "use a str, a list of message dicts or a Prompt")
    try:
        return [dict(cast("Mapping[str, Any]", message)) for message in copy.deepcopy(list(prompt))]
    except (TypeError, ValueError, RecursionError):
        refuse("prompt", prompt, "use a str, a list of message dicts or a Prompt")


def _message(response: Response) -> _Message:
    """The assistant turn that a response is."""
    found: _Message = response.to_openai()["choices"][0]["message"]
    for call in found.get("tool_calls", ()):
        # A call that was cut off would be refused in every later turn.
        if not _is_object(call["function"]["arguments"]):
            call["function"]["arguments"] = "{}"
    return found


def _is_object(arguments: str) -> bool:
    try:
        json_object("arguments", arguments, ByteBudget("prompt", WorkBudget()))
    except InvalidRequest:
        return False
    return True


def _session_data(text: object) -> dict[str, Any]:
    """What `Session.to_json` wrote, as far as it can be checked without a model."""
    remedy = "give what Session.to_json returned"
    if not isinstance(text, str):
        refuse("text", text, remedy)
    most = LIMITS["session"].high
    if len(text) > most:
        raise InvalidRequest(f"text has {len(text):,} characters: give at most {most:,}", field="text")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        refuse("text", text, remedy)
    if not isinstance(data, dict) or data.get("poolinfer_session") != _FORMAT:
        refuse("text", text, remedy)
    kinds = {"messages": list, "tools": list, "options": dict}
    if not all(isinstance(data.get(name), kind) for name, kind in kinds.items()):
        refuse("text", text, remedy)
    return data
