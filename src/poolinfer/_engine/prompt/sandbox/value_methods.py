"""What chat templates may call on texts, lists, dicts and loops: functions of the runtime and the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from jinja2.runtime import LoopContext
from jinja2.utils import Cycler, missing

from . import string_formatting, text_methods

if TYPE_CHECKING:
    from .runtime import Runtime


def method(value: Any, name: str) -> Callable[..., Any] | None:
    """A method as a function of the runtime, the value and its arguments."""
    if isinstance(value, dict):
        return _DICT.get(name)
    if isinstance(value, str):
        return _STRING.get(name)
    if isinstance(value, list | tuple):
        return _LIST.get(name)
    if isinstance(value, LoopContext):
        return _LOOP_METHODS.get(name)
    return _CYCLER.get(name) if isinstance(value, Cycler) else None


def _paying(method: Callable[..., Any]) -> Callable[..., Any]:
    def code(runtime: Runtime, text: str, *args: Any, **kwargs: Any) -> Any:
        return method(runtime.pay, text, *args, **kwargs)

    return code


def _join(runtime: Runtime, text: str, items: Any) -> str:
    return text_methods.joined(runtime.pay, text, runtime.each(8, items))


def _look(runtime: Runtime) -> Callable[[Any, bool, Any], Any]:
    return lambda value, attribute, name: (runtime.attribute if attribute else runtime.item)(value, name)


def _format(runtime: Runtime, text: str, *args: Any, **kwargs: Any) -> str:
    return string_formatting.brace(runtime.pay, text, args, kwargs, _look(runtime))


def _format_map(runtime: Runtime, text: str, values: Mapping[str, Any]) -> str:
    return string_formatting.brace(runtime.pay, text, (), values, _look(runtime))


def _get(runtime: Runtime, value: dict[Any, Any], key: Any, default: Any = None) -> Any:
    return value.get(runtime.key(key), default)


def _list_of(runtime: Runtime, value: dict[Any, Any], part: Callable[[dict[Any, Any]], Iterable[Any]]) -> Any:
    runtime.pay(64 * len(value))
    return list(part(value))


def _copy(runtime: Runtime, value: Any) -> Any:
    runtime.pay(64 * len(value))
    return value.copy()


def _count(runtime: Runtime, value: Sequence[Any], wanted: Any) -> int:
    return sum(item is wanted or runtime.eq(item, wanted) for item in runtime.each(4, value))


def _index(runtime: Runtime, value: Sequence[Any], wanted: Any) -> int:
    for place, item in enumerate(runtime.each(4, value)):
        if item is wanted or runtime.eq(item, wanted):
            return place
    raise ValueError("it is not in the list")


def _cycle(_: Runtime, loop: LoopContext, *values: Any) -> Any:
    return loop.cycle(*values)


def _changed(runtime: Runtime, loop: LoopContext, *values: Any) -> bool:
    last, loop._last_changed_value = loop._last_changed_value, values
    return last is missing or not runtime.eq(list(cast("tuple[Any, ...]", last)), list(values))


_DICT: dict[str, Callable[..., Any]] = {
    "get": _get,
    "items": text_methods.preset(_list_of, part=dict.items),
    "keys": text_methods.preset(_list_of, part=dict.keys),
    "values": text_methods.preset(_list_of, part=dict.values),
    "copy": _copy,
}
_LIST: dict[str, Callable[..., Any]] = {"count": _count, "index": _index, "copy": _copy}
_LOOP_METHODS: dict[str, Callable[..., Any]] = {"cycle": _cycle, "changed": _changed}
_CYCLER: dict[str, Callable[..., Any]] = {
    "next": lambda _, cycler: cycler.next(),
    "reset": lambda _, cycler: cycler.reset(),
}
_STRING: dict[str, Callable[..., Any]] = {
    **{name: _paying(method) for name, method in text_methods.METHODS.items()},
    "join": _join,
    "format": _format,
    "format_map": _format_map,
}
