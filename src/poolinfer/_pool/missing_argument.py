"""Methods that make calls say what is missing as their requests do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast

from .._data.requests import Request

_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


def says_what_is_missing(request: type[Request], *names: str) -> Callable[[_FunctionT], _FunctionT]:
    """Have a method raise what its request raises when a first argument is missing, or has another name."""

    def wrap(function: _FunctionT) -> _FunctionT:
        @wraps(function)
        def call(self: object, *args: Any, **options: Any) -> Any:
            if any(name not in options for name in names[len(args) :]):
                request(*args, **options)
            return function(self, *args, **options)

        @wraps(function)
        async def call_async(self: object, *args: Any, **options: Any) -> Any:
            return await call(self, *args, **options)

        return cast("_FunctionT", call_async if iscoroutinefunction(function) else call)

    return wrap
