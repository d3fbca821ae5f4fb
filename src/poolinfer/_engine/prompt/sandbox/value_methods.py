"""The methods that chat templates may call on texts, lists, dicts and Jinja's own loop objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

from jinja2.runtime import LoopContext
from jinja2.utils import Cycler, missing

from . import string_formatting, text_methods
from .fuel import Pay
from .function_tables import preset


class Operations(Protocol):
    """What a method may ask of the runtime that calls it, where each operation is paid for."""

    pay: Pay

    def each(self, cost: int, items: Any) -> Any:
        """The items of a value, `cost` units for each."""
        ...

    def key(self, key: Any) -> Any:
        """A key of a dict, if the value may be one."""
        ...

    def item(self, value: Any, key: Any) -> Any:
        """``value[key]``."""
        ...

    def attribute(self, value: Any, name: str) -> Any:
        """``value.name``."""
        ...

    def eq(self, a: Any, b: Any) -> bool:
        """``a == b``."""
        ...


def find_method(value: Any, name: str) -> Callable[..., Any] | None:
    """The method of that name that a value has for templates, or None.

    It is a function of the operations, the value and the method's own arguments.
    """
    if isinstance(value, dict):
        return _DICT_METHODS.get(name)
    if isinstance(value, str):
        return _TEXT_METHODS.get(name)
    if isinstance(value, tuple):
        return _TUPLE_METHODS.get(name)
    if isinstance(value, list):
        return _LIST_METHODS.get(name)
    if isinstance(value, LoopContext):
        return _LOOP_METHODS.get(name)
    return _CYCLER_METHODS.get(name) if isinstance(value, Cycler) else None


# --- texts


def _text_method(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `text_methods`, which asks nothing of the operations but to pay."""

    def call(operations: Operations, text: str, *args: Any, **kwargs: Any) -> Any:
        return method(operations.pay, text, *args, **kwargs)

    return call


def _join(operations: Operations, text: str, items: Any) -> str:
    """``text.join(items)``."""
    return text_methods.joined(operations.pay, text, operations.each(8, items))


def _format(operations: Operations, text: str, *args: Any, **kwargs: Any) -> str:
    """``text.format(...)``."""
    return string_formatting.brace(operations.pay, text, args, kwargs, _reader(operations))


def _format_map(operations: Operations, text: str, values: Mapping[str, Any]) -> str:
    """``text.format_map(values)``."""
    return string_formatting.brace(operations.pay, text, (), values, _reader(operations))


def _reader(operations: Operations) -> Callable[[Any, bool, Any], Any]:
    """A function that reads an attribute or an item of a value, for fields such as ``{0.name[key]}``."""
    return lambda value, attribute, name: (operations.attribute if attribute else operations.item)(
        value, name
    )


# --- dicts and lists


def _get(operations: Operations, value: dict[Any, Any], key: Any, default: Any = None) -> Any:
    """``dict.get(key, default)``."""
    return value.get(operations.key(key), default)


def _view(
    operations: Operations, value: dict[Any, Any], part: Callable[[dict[Any, Any]], Iterable[Any]]
) -> Any:
    """``dict.items()``, ``dict.keys()`` and ``dict.values()``: a list of them, as they are now."""
    operations.pay(64 * len(value))
    return list(part(value))


def _copy(operations: Operations, value: Any) -> Any:
    """``dict.copy()`` and ``list.copy()``."""
    operations.pay(64 * len(value))
    return value.copy()


def _count(operations: Operations, value: Sequence[Any], wanted: Any) -> int:
    """``list.count(wanted)``."""
    return sum(item is wanted or operations.eq(item, wanted) for item in operations.each(4, value))


def _index(operations: Operations, value: Sequence[Any], wanted: Any) -> int:
    """``list.index(wanted)``."""
    for index, item in enumerate(operations.each(4, value)):
        if item is wanted or operations.eq(item, wanted):
            return index
    raise ValueError("it is not in the list")


def _append(operations: Operations, value: list[Any], item: Any) -> None:
    """``list.append(item)``. All lists of a rendering are its own."""
    operations.pay(64)
    value.append(item)


def _pop(operations: Operations, value: list[Any], index: int = -1) -> Any:
    """``list.pop(index)``."""
    operations.pay(1 + len(value) // 8)
    return value.pop(index)


# --- loops and cyclers


def _cycle(_: Operations, loop: LoopContext, *values: Any) -> Any:
    """``loop.cycle(...)``: one of the values, in turn."""
    return loop.cycle(*values)


def _changed(operations: Operations, loop: LoopContext, *values: Any) -> bool:
    """``loop.changed(...)``: whether the values are others than in the turn before."""
    last, loop._last_changed_value = loop._last_changed_value, values
    return last is missing or not operations.eq(list(cast("tuple[Any, ...]", last)), list(values))


_DICT_METHODS: dict[str, Callable[..., Any]] = {
    "get": _get,
    "items": preset(_view, part=dict.items),
    "keys": preset(_view, part=dict.keys),
    "values": preset(_view, part=dict.values),
    "copy": _copy,
}
_TUPLE_METHODS: dict[str, Callable[..., Any]] = {"count": _count, "index": _index}
_LIST_METHODS: dict[str, Callable[..., Any]] = {
    **_TUPLE_METHODS,
    "copy": _copy,
    "append": _append,
    "pop": _pop,
}
_LOOP_METHODS: dict[str, Callable[..., Any]] = {"cycle": _cycle, "changed": _changed}
_CYCLER_METHODS: dict[str, Callable[..., Any]] = {
    "next": lambda _, cycler: cycler.next(),
    "reset": lambda _, cycler: cycler.reset(),
}
_TEXT_METHODS: dict[str, Callable[..., Any]] = {
    **{name: _text_method(method) for name, method in text_methods.METHODS.items()},
    "join": _join,
    "format": _format,
    "format_map": _format_map,
}
