"""The global functions of chat templates: Jinja's and Hugging Face's, as far as plain data goes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.utils import Cycler, Joiner

from .authored_text import derived
from .runtime import TemplateFunction, TemplateNamespace, TemplateRuntime

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
    """``dict(...)``: a copy of a dict, or of a list of pairs, with named values beside its own."""
    if len(pairs) > 1:
        raise TypeError("dict() takes a dict, or a list of pairs, and named values")
    found: dict[Any, Any] = {}
    for part in pairs:
        items = part.items() if isinstance(part, dict) else part
        runtime.each(64, part)
        for pair in items:
            key, value = runtime.each(1, pair)
            found[runtime.key(key)] = value
    return {**found, **named}


def _fromkeys(runtime: TemplateRuntime, keys: Any, value: Any = None) -> dict[Any, Any]:
    """``dict.fromkeys(keys, value)``: a dict with the same value under each key."""
    return {runtime.key(key): value for key in runtime.each(64, keys)}


def _namespace(runtime: TemplateRuntime, *pairs: Any, **named: Any) -> TemplateNamespace:
    """``namespace(...)``: an object whose attributes a template may set inside of loops."""
    return TemplateNamespace(_dict(runtime, *pairs, **named))


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
    "dict": TemplateFunction(_dict, fromkeys=TemplateFunction(_fromkeys)),
    "namespace": TemplateFunction(_namespace),
    "cycler": TemplateFunction(_cycler),
    "joiner": TemplateFunction(_joiner),
    "raise_exception": TemplateFunction(_raise_exception),
    "strftime_now": TemplateFunction(_strftime_now),
}
