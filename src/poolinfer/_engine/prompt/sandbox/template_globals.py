"""The global functions of chat templates: Jinja's and Hugging Face's, as far as plain data goes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.utils import Cycler, Joiner, Namespace

from .authored_text import derived
from .runtime import TemplateFunction, TemplateRuntime

#: Longest range of numbers that a template may make.
MAX_RANGE = 100_000
#: Longest format of a date.
MAX_DATE_FORMAT = 1000


def _range(_: TemplateRuntime, *bounds: int) -> range:
    """``range(...)``: as in Python, but of a bounded length."""
    found = range(*bounds)
    if len(found) > MAX_RANGE:
        raise OverflowError(f"a range of more than {MAX_RANGE} numbers")
    return found


def _dict(runtime: TemplateRuntime, *pairs: Any, **named: Any) -> dict[Any, Any]:
    """``dict(...)``: a copy of a dict, with named values beside its own."""
    if not all(isinstance(part, Mapping) for part in pairs):
        raise TypeError("dict() takes a dict and named values")
    runtime.pay(64 * sum(map(len, pairs)))
    return dict(*pairs, **named)


def _namespace(runtime: TemplateRuntime, *pairs: Any, **named: Any) -> Namespace:
    """``namespace(...)``: an object whose attributes a template may set inside of loops."""
    return Namespace(_dict(runtime, *pairs, **named))


def _cycler(_: TemplateRuntime, *items: Any) -> Cycler:
    """``cycler(...)``: an object that gives its items in turn."""
    return Cycler(*items)


def _joiner(_: TemplateRuntime, sep: Any = ", ") -> Joiner:
    """``joiner(...)``: a function that gives nothing at its first call, and a separator at each one after it."""
    return Joiner(sep)


def _raise_exception(_: TemplateRuntime, message: Any) -> None:
    """``raise_exception(...)``: how a template refuses messages."""
    raise TemplateError(message if isinstance(message, str) else "the template raised an exception")


def _strftime_now(runtime: TemplateRuntime, form: str) -> str:
    """``strftime_now(...)``: the local date and time in a format, written by whoever wrote the format."""
    if len(form) > MAX_DATE_FORMAT:
        raise ValueError("the format of the date is too long")
    # What Python gives the C library to write to.
    runtime.pay(256 * len(form))
    return derived(datetime.now().strftime(form), form)


#: The variables that every template has.
GLOBALS: dict[str, Any] = {
    "range": TemplateFunction(_range),
    "dict": TemplateFunction(_dict),
    "namespace": TemplateFunction(_namespace),
    "cycler": TemplateFunction(_cycler),
    "joiner": TemplateFunction(_joiner),
    "raise_exception": TemplateFunction(_raise_exception),
    "strftime_now": TemplateFunction(_strftime_now),
}
