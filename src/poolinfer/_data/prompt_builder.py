"""`Prompt`: an immutable builder of chat messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias

from typing_extensions import ParamSpec

from .errors import InvalidRequest
from .results import Response

_P = ParamSpec("_P")


class Turn(NamedTuple):
    """One turn of a `Prompt`.

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.
        content: the text of the turn; of an assistant turn, also a `Response`.
        call_id: of a tool turn, the id of the call that it answers.
    """

    role: str
    content: str | Response
    call_id: str | None = None

    @property
    def message(self) -> dict[str, object]:
        """The turn as an OpenAI-shaped message dict."""
        if isinstance(self.content, Response):
            return dict(self.content.to_openai()["choices"][0]["message"])
        found: dict[str, object] = {"role": self.role, "content": self.content}
        return found if self.call_id is None else {**found, "tool_call_id": self.call_id}


class _TurnMethod(Generic[_P]):
    """A method that adds a turn: called on the class it starts a prompt, called on a prompt it extends that one."""

    def __init__(self, turn: Callable[_P, Turn]) -> None:
        self._turn = turn

    def __get__(self, prompt: Prompt | None, owner: type[Prompt]) -> Callable[_P, Prompt]:
        before = () if prompt is None else prompt.turns

        def add(*args: _P.args, **options: _P.kwargs) -> Prompt:
            return owner((*before, self._turn(*args, **options)))

        return add


def _system(content: str) -> Turn:
    return Turn("system", _text("content", content))


def _user(content: str) -> Turn:
    return Turn("user", _text("content", content))


def _assistant(content: str | Response) -> Turn:
    if isinstance(content, Response):
        return Turn("assistant", content)
    return Turn("assistant", _text("content", content, "use a str or a Response"))


def _tool(content: str, call_id: str) -> Turn:
    return Turn("tool", _text("content", content), _text("call_id", call_id))


def _text(field: str, value: object, remedy: str = "use a str") -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{field} is of type {type(value).__name__}: {remedy}", field=field)
    return value


@dataclass(frozen=True, slots=True)
class Prompt:
    """Chat messages, built turn by turn; each step returns a new prompt.

    ``Prompt.system("Be brief.").user("Hello!")``

    Attributes:
        turns: the turns so far, as (role, content, call id).
    """

    turns: tuple[Turn, ...] = ()

    #: Add a system turn: ``Prompt.system("Be brief.")``. What is no str is refused with `InvalidRequest`.
    system: ClassVar[_TurnMethod[[str]]] = _TurnMethod(_system)
    #: Add a user turn.
    user: ClassVar[_TurnMethod[[str]]] = _TurnMethod(_user)
    #: Add an assistant turn: a text, or a `Response` with its tool calls and reasoning.
    assistant: ClassVar[_TurnMethod[[str | Response]]] = _TurnMethod(_assistant)
    #: Add the answer to a tool call: ``prompt.assistant(reply).tool("21 degrees", reply.tool_calls[0].id)``.
    tool: ClassVar[_TurnMethod[[str, str]]] = _TurnMethod(_tool)

    @property
    def messages(self) -> list[dict[str, object]]:
        """The turns as OpenAI-shaped message dicts."""
        return [Turn(*turn).message for turn in self.turns]


#: A chat prompt: one user turn, OpenAI-shaped messages, or a `Prompt`.
ChatInput: TypeAlias = str | Sequence[Mapping[str, Any]] | Prompt
