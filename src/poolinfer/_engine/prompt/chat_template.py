"""Chat templates: Jinja from a model file or a host, run in a sandbox that knows who wrote each character."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from ..._data.errors import CallCancelled, InvalidRequest, ModelError
from .continued_answer import ContinuedAnswer
from .message_repairs import ProbeRender, Repairs, learn_repairs
from .sandbox.authored_text import join
from .sandbox.fuel import Fuel
from .template_input import TemplateInput

if TYPE_CHECKING:
    import jinja2

    from .sandbox.runtime import TemplateRuntime

#: Most characters of the source of a template.
MAX_SOURCE = 128 * 1024
#: Most characters of a template's own words that an error shows.
MAX_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A template's code, and what it needs.

    Attributes:
        template: the compiled template.
        repairs: what it needs otherwise than callers give it.
    """

    template: jinja2.Template
    repairs: Repairs


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
        variables: Mapping[str, Any] = MappingProxyType({}),
        add_generation_prompt: bool = True,
        continue_final: bool = False,
        stop: Callable[[], bool] | None = None,
        fuel: Fuel | None = None,
    ) -> str:
        """The prompt as text; an `AuthoredText`, if any of it was written by a caller.

        Args:
            messages: the turns, as `poolinfer._checks.normalize` makes them.
            tools: the tools that are offered.
            variables: further variables by their names.
            add_generation_prompt: whether the prompt ends where the answer begins.
            continue_final: whether the prompt ends right after the content of the last turn, an answer, whatever
                `add_generation_prompt` says.
            stop: says whether the call was given up; asked every few milliseconds.
            fuel: what pays for the rendering; by default, as much as is due to these messages.

        Raises:
            InvalidRequest: the template refuses these messages, or does too much with them.
            CallCancelled: `stop` said so.
            ModelError: the template is not a valid one.
        """
        compiled = self._compiled()
        found = TemplateInput()
        turns = found.messages(messages)
        names = {
            "documents": None,
            **found.variables(variables),
            "tools": found.tools(tools) or None,
            "add_generation_prompt": add_generation_prompt and not continue_final,
            **self._tokens,
        }
        fuel = fuel or Fuel(found.size, len(messages), stop)
        try:
            turns = compiled.repairs.mended(turns, fuel.pay)
            answer = ContinuedAnswer(turns) if continue_final else None
            rendered = _render(compiled.template, {**names, "messages": turns}, fuel)
            return rendered if answer is None else answer.cut(rendered)
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
                template, names_read = _compile(self.source)
                self._known = _Compiled(template, learn_repairs(self._probe(template), names_read))
            return self._known

    def _probe(self, template: jinja2.Template) -> ProbeRender:
        """Renders probes, all of them with the fuel of one rendering; None where the template fails."""
        fuel = Fuel(0, 0)

        def render(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str | None:
            found = TemplateInput()
            names = {
                "messages": found.messages(messages),
                "tools": found.tools(tools) or None,
                "documents": None,
                "add_generation_prompt": True,
                **self._tokens,
            }
            try:
                return _render(template, names, fuel)
            # Whatever a template's own code raises, it does not take this probe.
            except Exception:
                return None

        return render


def _compile(source: str) -> tuple[jinja2.Template, frozenset[str]]:
    """A template's code, and the names of which it may read something of a message.

    Jinja is imported here, as an engine without a chat template needs none of it.
    """
    if len(source) > MAX_SOURCE:
        raise ModelError(f"the model's chat template is not valid: it has more than {MAX_SOURCE} characters")
    from .sandbox.template_environment import TemplateEnvironment, names_read

    try:
        environment = TemplateEnvironment()
        tree = environment.parse(source)
        return environment.from_string(tree), names_read(tree)
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
