"""Chat templates: Jinja from a model file or a host, run in a sandbox that knows who wrote each character."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..._data.errors import CallCancelled, InvalidRequest, ModelError
from .sandbox.authored_text import join
from .sandbox.fuel import Fuel
from .template_input import REASONING_NAMES, TemplateInput

if TYPE_CHECKING:
    import jinja2

    from .sandbox.runtime import TemplateRuntime

#: Most characters of the source of a template.
MAX_SOURCE = 128 * 1024
#: Most characters of a template's own words that an error shows.
MAX_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A template's code.

    Attributes:
        template: the compiled template.
        reasoning_names: the names under which it reads an assistant's reasoning.
    """

    template: jinja2.Template
    reasoning_names: frozenset[str]


class ChatTemplate:
    """A Jinja chat template, compiled when it is first used, and run in a sandbox; thread-safe.

    What a rendering may make and do is bounded in proportion to the messages; its time is bounded, too.

    Args:
        source: the template.
        bos: the spelling of the beginning-of-text token, as the variable ``bos_token``.
        eos: the spelling of the end-of-text token, as the variable ``eos_token``.

    Attributes:
        source: the template.
    """

    def __init__(self, source: str, bos: str, eos: str) -> None:
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._lock = threading.Lock()
        self._known: _Compiled | None = None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        add_generation_prompt: bool = True,
        stop: Callable[[], bool] | None = None,
    ) -> str:
        """The prompt as text; an `AuthoredText`, if any of it was written by a caller.

        Args:
            messages: the turns, as `poolinfer._checks.normalize` makes them.
            tools: the tools that are offered.
            add_generation_prompt: whether the prompt ends where the answer begins.
            stop: says whether the call was given up; asked every few milliseconds.

        Raises:
            InvalidRequest: the template refuses these messages, or does too much with them.
            CallCancelled: `stop` said so.
            ModelError: the template is not a valid one.
        """
        compiled = self._compiled()
        found = TemplateInput(compiled.reasoning_names)
        variables = {
            "messages": found.messages(messages),
            "tools": found.tools(tools) or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._tokens,
        }
        try:
            return _render(compiled.template, variables, Fuel(found.size, len(messages), stop))
        except (InvalidRequest, CallCancelled):
            raise
        # Whatever a template's own code raises is about these messages, not about us.
        except Exception as error:
            why = str(error)[:MAX_MESSAGE] or type(error).__name__
            raise InvalidRequest(
                f"the chat template refused these messages: {why}", field="prompt"
            ) from error

    def _compiled(self) -> _Compiled:
        with self._lock:
            if self._known is None:
                self._known = _compile(self.source)
            return self._known


def _compile(source: str) -> _Compiled:
    """Compile a template. Jinja is imported here, as an engine without a chat template needs none of it."""
    if len(source) > MAX_SOURCE:
        raise ModelError(f"the model's chat template is not valid: it has more than {MAX_SOURCE} characters")
    from .sandbox.template_environment import TemplateEnvironment, names_read

    try:
        environment = TemplateEnvironment()
        tree = environment.parse(source)
        return _Compiled(environment.from_string(tree), names_read(tree) & REASONING_NAMES)
    except Exception as error:
        why = str(error)[:MAX_MESSAGE] or type(error).__name__
        raise ModelError(f"the model's chat template is not valid: {why}") from error


def _render(template: jinja2.Template, variables: dict[str, Any], fuel: Fuel) -> str:
    """The text that a template makes with these variables, paid for out of the fuel."""
    context = cast("TemplateRuntime", template.new_context(variables))
    context.pay = fuel.pay
    parts: list[str] = []
    for part in template.root_render_func(context):
        fuel.pay(8 + len(part))
        parts.append(part)
    return join(parts)
