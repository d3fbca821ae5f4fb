"""``"%s" % x`` and ``"{}".format(x)`` in chat templates: as in Python, one field at a time, with authors kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from typing import Any

from . import serializers
from .authored_text import AuthoredText, cut, derived, join
from .fuel import Pay
from .text_methods import PIECE_COST, narrow

_PERCENT = re.compile(
    r"%(?:\((?P<key>[^()]*)\))?(?P<flags>[-#0 +]*)(?P<width>\d*)(?:\.(?P<digits>\d*))?[hlL]?(?P<kind>.?)",
    re.S,
)
# A field is a name or a number, and then attributes and keys: ``0.name[key]``.
_NAME = re.compile(r"[.\[]")
_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")
_NUMBERS = re.compile(r"\d+")
#: Most digits of a number in a format, zeros before it among them.
_MAX_DIGITS = 9


def _width(form: str) -> int:
    """How wide a formatted value may become, at most."""
    numbers = _NUMBERS.findall(form)
    if any(len(number) > _MAX_DIGITS for number in numbers):
        raise ValueError("a format with long numbers")
    return sum(narrow(int(number)) for number in numbers)


def _joined(pay: Pay, pieces: Iterator[str]) -> str:
    """The pieces as one text."""
    kept = list(pieces)
    pay(sum(map(len, kept)))
    return join(kept)


def percent(pay: Pay, form: str, values: Any) -> str:
    """``form % values``.

    Args:
        pay: pays for what is read and made.
        form: the text with fields.
        values: a tuple of values, a dict of them by name, or one value.
    """
    return _joined(pay, _percent(pay, form, values))


def _percent(pay: Pay, form: str, values: Any) -> Iterator[str]:
    """The pieces of ``form % values``: literal text and fields in turn."""
    named: Any = values
    ordered: Iterator[Any] = iter(values if isinstance(values, tuple) else (values,))
    end = 0
    for match in _PERCENT.finditer(form):
        pay(PIECE_COST + match.end() - end)
        yield cut(form, end, match.start())
        end = match.end()
        key, kind = match["key"], match["kind"]
        if kind == "%":
            yield cut(form, match.start(), match.start() + 1)
            continue
        try:
            value = named[key] if key is not None else next(ordered)
        except StopIteration:
            raise TypeError("not enough arguments for format string") from None
        digits = "" if match["digits"] is None else f".{match['digits'] or 0}"
        field = f"%{match['flags']}{match['width']}{digits}{kind}"
        yield _percent_field(pay, field, value, kind, cut(form, *match.span()))
    pay(len(form) - end)
    yield cut(form, end, None)
    if not isinstance(values, dict) and next(ordered, ordered) is not ordered:
        raise TypeError("not all arguments converted during string formatting")


def _percent_field(pay: Pay, form: str, value: Any, kind: str, source: str) -> str:
    """One field (``%5d``) with its value; `source` is the field as the template has it, with its author."""
    pay(_width(form))
    if kind in ("s", "r"):
        shown = serializers.text(pay, value) if kind == "s" else serializers.python(pay, value)
        if form in ("%s", "%r"):
            return shown
        pay(len(shown) + len(form))
        return derived(f"{form[:-1]}s" % str.__str__(shown), shown, source)
    return _number(pay, lambda: form % value, value, source)


def brace(
    pay: Pay,
    form: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    read: Callable[[Any, bool, Any], Any],
) -> str:
    """``form.format(*args, **kwargs)``.

    Args:
        pay: pays for what is read and made.
        form: the text with fields.
        args: the values of numbered fields.
        kwargs: the values of named fields.
        read: reads of a value an attribute (if its second argument is true) or an item, by a name.
    """
    return _joined(pay, _brace(pay, form, args, kwargs, read))


def _brace(
    pay: Pay,
    form: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    read: Callable[[Any, bool, Any], Any],
) -> Iterator[str]:
    """The pieces of ``form.format(...)``: literal text and fields in turn."""
    pay(len(form))
    automatic = 0
    for literal, field, spec, conversion in Formatter().parse(str.__str__(form)):
        pay(PIECE_COST + len(literal))
        yield derived(literal, form)
        if field is None:
            continue
        name = _NAME.split(field, 1)[0]
        if not name:
            name, automatic = str(automatic), automatic + 1
        value = args[int(name)] if name.isdecimal() else kwargs[name]
        for step in _STEP.finditer(field):
            key = step[1] or step[2]
            value = read(value, step[1] is not None, int(key) if key.isdecimal() else key)
        yield _brace_field(pay, form, value, spec or "", conversion)


def _brace_field(pay: Pay, form: str, value: Any, spec: str, conversion: str | None) -> str:
    """One field (``{0!r:>5}``) with its value; `form` is the whole text, which has its author."""
    if "{" in spec:
        raise ValueError("a format that is computed")
    pay(_width(spec))
    if conversion is not None:
        if conversion not in ("s", "r"):
            raise ValueError(f"Unknown conversion specifier {conversion}")
        value = serializers.text(pay, value) if conversion == "s" else serializers.python(pay, value)
    if not spec:
        return serializers.text(pay, value)
    if isinstance(value, str):
        pay(len(value))
        return derived(format(str.__str__(value), spec), value, form)
    return _number(pay, lambda: format(value, spec), value, form)


def _number(pay: Pay, form: Callable[[], str], value: Any, source: str) -> str:
    """A number as `form` writes it, by the author of the format."""
    if not isinstance(value, bool | int | float | AuthoredText | str):
        raise TypeError(f"a number is needed, not {type(value).__name__}")
    result = form()
    pay(len(result))
    return derived(result, source, value) if isinstance(value, str) else derived(result, source)
