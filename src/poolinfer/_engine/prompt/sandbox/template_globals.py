"""The tests and globals of chat templates: Jinja's and Hugging Face's, as far as plain data goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from jinja2 import pass_context
from jinja2.exceptions import TemplateError
from jinja2.runtime import Macro
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import Cycler, Joiner, Namespace

from . import text_methods
from .authored_text import derived
from .runtime import Function, Runtime

#: Longest range of numbers that a template may make.
MAX_RANGE = 100_000
#: Longest format of a date.
MAX_FORMAT = 1000


def _range(_: Runtime, *bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MAX_RANGE:
        raise OverflowError(f"a range of more than {MAX_RANGE} numbers")
    return found


def _dict(runtime: Runtime, *pairs: Any, **named: Any) -> dict[Any, Any]:
    if not all(isinstance(part, Mapping) for part in pairs):
        raise TypeError("dict() takes a dict and named values")
    runtime.pay(64 * sum(map(len, pairs)))
    return dict(*pairs, **named)


def _raise_exception(_: Runtime, message: Any) -> None:
    raise TemplateError(message if isinstance(message, str) else "the template raised an exception")


def _strftime_now(runtime: Runtime, form: str) -> str:
    if len(form) > MAX_FORMAT:
        raise ValueError("the format of the date is too long")
    # What Python gives the C library to write to.
    runtime.pay(256 * len(form))
    return derived(datetime.now().strftime(form), form)


def contextual(functions: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Functions that Jinja's code calls with the runtime first."""
    return {name: pass_context(partial(function)) for name, function in functions.items()}


def _plainly(test: Any) -> Callable[..., Any]:
    return lambda _, *args: test(*args)


def _remainder(value: Any, divisor: Any) -> Any:
    if not isinstance(value, int | float) or not isinstance(divisor, int | float):
        raise TypeError("only numbers can be divided")
    return value % divisor


_PLAIN_TESTS = (
    *("defined", "undefined", "none", "boolean", "false", "true", "integer"),
    *("float", "string", "mapping", "number", "sequence", "iterable", "sameas"),
)

#: The tests (``is ...``) by their names.
TESTS: dict[str, Callable[..., Any]] = contextual(
    {
        **{name: _plainly(JINJA_TESTS[name]) for name in _PLAIN_TESTS},
        **dict.fromkeys(("eq", "equalto", "=="), Runtime.eq),
        **dict.fromkeys(("ne", "!="), Runtime.ne),
        **dict.fromkeys(("lt", "lessthan", "<"), Runtime.lt),
        **dict.fromkeys(("le", "<="), Runtime.lteq),
        **dict.fromkeys(("gt", "greaterthan", ">"), Runtime.gt),
        **dict.fromkeys(("ge", ">="), Runtime.gteq),
        "in": Runtime.isin,
        "odd": lambda _, value: _remainder(value, 2) == 1,
        "even": lambda _, value: _remainder(value, 2) == 0,
        "divisibleby": lambda _, value, num: _remainder(value, num) == 0,
        "callable": lambda _, value: isinstance(value, Function | Macro | Joiner),
        "lower": lambda runtime, value: text_methods.METHODS["islower"](runtime.pay, runtime.text(value)),
        "upper": lambda runtime, value: text_methods.METHODS["isupper"](runtime.pay, runtime.text(value)),
    }
)

#: The variables that every template has.
GLOBALS: dict[str, Any] = {
    "range": Function(_range),
    "dict": Function(_dict),
    "namespace": Function(lambda runtime, *pairs, **named: Namespace(_dict(runtime, *pairs, **named))),
    "cycler": Function(lambda _, *items: Cycler(*items)),
    "joiner": Function(lambda _, sep=", ": Joiner(sep)),
    "raise_exception": Function(_raise_exception),
    "strftime_now": Function(_strftime_now),
}
