"""Tables of the functions that chat templates may call: filters, tests and methods by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jinja2 import pass_context


def with_runtime(functions: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Have Jinja's code call each of these functions with the runtime as its first argument."""
    return {name: pass_context(partial(function)) for name, function in functions.items()}


def preset(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """A function with some keyword arguments that are set here, and that no template can change.

    Raises:
        TypeError: the function is called with one of them.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        # Not `partial`: there the caller's arguments win.
        return function(*args, **settings, **kwargs)

    return call
