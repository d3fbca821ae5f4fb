"""Chat templates: Jinja from a model file or a host, in a sandbox."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .._errors import InvalidRequest, ModelError

if TYPE_CHECKING:
    import jinja2
    import jinja2.runtime
    import jinja2.sandbox

#: Most characters that a template may produce.
MAX_OUTPUT = 8 * 1024 * 1024
#: Most bits of a number that a template may compute.
MAX_BITS = 4096
#: Widest padding of a text that a template may ask for.
MAX_WIDTH = 10_000
#: Deepest indent that a template may ask for.
MAX_INDENT = 100

_PADDING = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})
# Formats with a width of five digits, or one that is computed.
_WIDE = re.compile(r"%[-#0 +.\d]*(?:\d{5}|\*)|\{[^{}]*:[^{}]*(?:\d{5}|\{)")


class ChatTemplate:
    """A Jinja chat template, compiled when first used and run in a sandbox; thread-safe.

    Output and single operations are bounded in size. Loops without output are not bounded in time.
    """

    def __init__(self, source: str, bos: str, eos: str) -> None:
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._lock = threading.Lock()
        self._template: jinja2.Template | None = None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        add_generation_prompt: bool = True,
    ) -> str:
        """The prompt as text.

        Raises:
            InvalidRequest: the template refuses these messages, or produces too much.
            ModelError: the template is not a valid one.
        """
        variables = {
            "messages": thaw(messages),
            "tools": thaw(tools) or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._tokens,
        }
        template = self._compiled()
        try:
            return _bounded(template.generate(variables))
        except InvalidRequest:
            raise
        # Whatever a template's own code raises is about these messages, not about us.
        except Exception as error:
            raise InvalidRequest(
                f"the chat template refused these messages: {error or type(error).__name__}", field="prompt"
            ) from error

    def _compiled(self) -> jinja2.Template:
        with self._lock:
            if self._template is None:
                try:
                    self._template = _environment().from_string(self.source)
                except Exception as error:
                    raise ModelError(f"the model's chat template is not valid: {error}") from error
            return self._template


def _keep(text: str) -> str:
    return text


def thaw(value: Any, change: Callable[[str], str] = _keep) -> Any:
    """Frozen data as the lists and dicts that templates expect, each string changed.

    Raises:
        InvalidRequest: it is nested too deeply.
    """
    try:
        return _thaw(value, change)
    except RecursionError:
        raise InvalidRequest("the messages or tools are nested too deeply", field="prompt") from None


def _thaw(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_thaw(key, change): _thaw(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_thaw(item, change) for item in value]
    return value


def _bounded(parts: Iterable[str]) -> str:
    """The parts joined, refused as soon as they are too many."""
    kept: list[str] = []
    size = 0
    for part in parts:
        kept.append(part)
        size += len(part)
        if size > MAX_OUTPUT:
            raise InvalidRequest(
                f"the chat template produced more than {MAX_OUTPUT} characters", field="prompt"
            )
    return "".join(kept)


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """The environment that Hugging Face's libraries render chat templates in, with less to abuse."""
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "*", "**", "%"})

        def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
            if _is_bomb(operator, left, right):
                raise SecurityError(f"the result of {operator!r} is too big")
            return super().call_binop(context, operator, left, right)

        def call(self, context: jinja2.runtime.Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
            if _pads(obj, (*args, *kwargs.values())):
                raise SecurityError("a text is padded too far")
            return super().call(context, obj, *args, **kwargs)

    env = Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    for name in ("batch", "center", "format", "slice"):
        del env.filters[name]
    del env.globals["lipsum"]
    indent = env.filters["indent"]
    env.filters["indent"] = lambda text, width=4, *args, **kw: indent(text, _small(width), *args, **kw)
    env.filters["tojson"] = _to_json
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return env


def _is_bomb(operator: str, left: Any, right: Any) -> bool:
    """Whether an operation would make a number or a sequence out of proportion."""
    if operator == "%":
        return isinstance(left, str) and _WIDE.search(left) is not None
    if operator == "+":
        return _size(left) + _size(right) > MAX_OUTPUT
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        return bits > MAX_BITS
    return any(
        isinstance(times, int) and _size(one) * times > MAX_OUTPUT
        for one, times in ((left, right), (right, left))
    )


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


def _pads(method: Any, values: Iterable[Any]) -> bool:
    """Whether a call is one of a text's methods that would pad it far."""
    method = getattr(method, "__wrapped__", method)
    text, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    if not isinstance(text, str):
        return False
    if name in ("format", "format_map"):
        return _WIDE.search(text) is not None
    return name in _PADDING and any(isinstance(value, int) and value > MAX_WIDTH for value in values)


def _small(width: Any) -> Any:
    if (len(width) if isinstance(width, str) else width) > MAX_INDENT:
        raise ValueError(f"an indent of more than {MAX_INDENT}")
    return width


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Not Jinja's own filter, which escapes for HTML.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=None if indent is None else _small(indent),
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    from jinja2.exceptions import TemplateError

    raise TemplateError(message)
