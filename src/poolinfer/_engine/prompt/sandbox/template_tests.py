"""The tests of chat templates (``is ...``): Jinja's, as far as plain data goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2.runtime import Macro
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import Joiner

from .function_tables import with_runtime
from .runtime import TemplateFunction, TemplateRuntime
from .text_methods import METHODS

# Jinja's own tests that look at a value's type or identity, and at nothing in it.
_TYPE_TESTS = (
    *("defined", "undefined", "none", "boolean", "false", "true", "integer"),
    *("float", "string", "mapping", "number", "sequence", "iterable", "sameas"),
)


def _without_runtime(test: Any) -> Callable[..., Any]:
    """One of Jinja's tests, as a function that ignores the runtime."""
    return lambda _, *args: test(*args)


def _remainder(value: Any, divisor: Any) -> Any:
    """What is left of a number after division; a text would be formatted by ``%``."""
    if not isinstance(value, int | float) or not isinstance(divisor, int | float):
        raise TypeError("only numbers can be divided")
    return value % divisor


#: The tests by their names.
TESTS: dict[str, Callable[..., Any]] = with_runtime(
    {
        **{name: _without_runtime(JINJA_TESTS[name]) for name in _TYPE_TESTS},
        **dict.fromkeys(("eq", "equalto", "=="), TemplateRuntime.eq),
        **dict.fromkeys(("ne", "!="), TemplateRuntime.ne),
        **dict.fromkeys(("lt", "lessthan", "<"), TemplateRuntime.lt),
        **dict.fromkeys(("le", "<="), TemplateRuntime.lteq),
        **dict.fromkeys(("gt", "greaterthan", ">"), TemplateRuntime.gt),
        **dict.fromkeys(("ge", ">="), TemplateRuntime.gteq),
        "in": TemplateRuntime.isin,
        "odd": lambda _, value: _remainder(value, 2) == 1,
        "even": lambda _, value: _remainder(value, 2) == 0,
        "divisibleby": lambda _, value, num: _remainder(value, num) == 0,
        "callable": lambda _, value: isinstance(value, TemplateFunction | Macro | Joiner),
        "lower": lambda runtime, value: METHODS["islower"](runtime.pay, runtime.text(value)),
        "upper": lambda runtime, value: METHODS["isupper"](runtime.pay, runtime.text(value)),
    }
)
