"""The filters of chat templates that make numbers: Jinja's, with bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .runtime import TemplateRuntime

#: Longest text that is read as a number, and most places that one is rounded to.
MAX_DIGITS = 1000


def _abs(_: TemplateRuntime, value: Any) -> Any:
    """``abs``: the number without its sign."""
    return abs(value)


def _int(_: TemplateRuntime, value: Any, default: int = 0, base: int = 10) -> Any:
    """``int(default, base)``: the value as a whole number, or the default where it cannot be one."""
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        return default
    try:
        return int(value, base) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        try:
            return int(float(value))
        except (TypeError, ValueError, OverflowError):
            return default


def _float(_: TemplateRuntime, value: Any, default: float = 0.0) -> Any:
    """``float(default)``: the value as a number, or the default where it cannot be one."""
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        return default


def _round(_: TemplateRuntime, value: Any, precision: int = 0, method: str = "common") -> Any:
    """``round(precision, method)``: the number rounded to so many places."""
    if abs(precision) > MAX_DIGITS:
        raise ValueError(f"rounding to {precision} places")
    if method == "common":
        return round(value, precision)
    change = {"ceil": math.ceil, "floor": math.floor}[method]
    return change(value * 10**precision) / 10**precision


#: The filters by their names; each takes the runtime, the value and its own arguments.
NUMBER_FILTERS: Mapping[str, Callable[..., Any]] = {
    "abs": _abs,
    "float": _float,
    "int": _int,
    "round": _round,
}
