"""The filters of chat templates that look into lists and dicts: Jinja's, with costs paid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2.runtime import Undefined

from . import text_methods
from .function_tables import preset
from .runtime import TemplateFunction, TemplateRuntime

#: Most names in a path to a nested item, and most paths that things are sorted by.
MAX_PATH = 64


def _default(_: TemplateRuntime, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """``default(default_value, boolean)``: the value, or the default where it is undefined (or false)."""
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


def _getter(runtime: TemplateRuntime, attribute: Any, default: Any = None) -> Callable[[Any], Any]:
    """A function that takes a nested item, named by a dotted path, out of a value."""
    names = [] if attribute is None else _names(runtime, attribute, ".")
    path = [int(name) if isinstance(name, str) and name.isdecimal() else name for name in names]

    def get(value: Any) -> Any:
        for name in path:
            value = runtime.item(value, name)
            if default is not None and isinstance(value, Undefined):
                value = default
        return value

    return get


def _names(runtime: TemplateRuntime, attribute: Any, separator: str) -> list[Any]:
    """The names that a path, or a list of paths, consists of; what is no text is the only name."""
    if not isinstance(attribute, str):
        return [attribute]
    runtime.pay(len(attribute))
    if attribute.count(separator) >= MAX_PATH:
        raise ValueError(f"a path of more than {MAX_PATH} names")
    return attribute.split(separator)


def _list(runtime: TemplateRuntime, value: Any) -> list[Any]:
    """``list``: the items as a list."""
    return list(runtime.each(8, value))


def _length(runtime: TemplateRuntime, value: Any) -> int:
    """``length``: how many items or characters the value has."""
    return len(value if isinstance(value, str) else runtime.each(0, value))


def _items(runtime: TemplateRuntime, value: Any) -> list[tuple[Any, Any]]:
    """``items``: the pairs of key and value of a dict."""
    if isinstance(value, Undefined):
        return []
    if not isinstance(value, dict):
        raise TypeError("Can only get item pairs from a mapping.")
    runtime.pay(64 * len(value))
    return list(value.items())


def _join(runtime: TemplateRuntime, value: Any, d: Any = "", attribute: Any = None) -> str:
    """``join(d, attribute)``: the items, or one attribute of each, as one text with `d` between them."""
    items = runtime.each(8, value)
    if attribute is not None:
        items = map(_getter(runtime, attribute), items)
    return text_methods.joined(runtime.pay, runtime.text(d), (runtime.text(item) for item in items))


def _first(runtime: TemplateRuntime, value: Any) -> Any:
    """``first``: the first item."""
    for item in runtime.each(0, value):
        return item
    return runtime.environment.undefined("No first item, sequence was empty.")


def _last(runtime: TemplateRuntime, value: Any) -> Any:
    """``last``: the last item, or the last character of a text."""
    if isinstance(value, str):
        return runtime.item(value, -1)
    for item in reversed(runtime.each(0, value)):
        return item
    return runtime.environment.undefined("No last item, sequence was empty.")


def _reverse(runtime: TemplateRuntime, value: Any) -> Any:
    """``reverse``: the items, or the characters of a text, from the end to the beginning."""
    if isinstance(value, str):
        return runtime.slice(value, None, None, -1)
    return list(reversed(_list(runtime, value)))


def _attr(runtime: TemplateRuntime, value: Any, name: str) -> Any:
    """``attr(name)``: an attribute or a method of the value, and never what a dict has under that name."""
    if isinstance(value, dict) and not isinstance(runtime.attribute({}, name), TemplateFunction):
        return runtime.environment.undefined(obj=value, name=name)
    return runtime.attribute(value, name)


def _sort_key(runtime: TemplateRuntime, attribute: Any, case_sensitive: bool) -> Callable[[Any], Any]:
    """A function that gives what an item is sorted by: one attribute of it, or several with commas between them."""
    getters = [_getter(runtime, name) for name in _names(runtime, attribute, ",")]

    def key(item: Any) -> Any:
        keys = [get(item) for get in getters]
        if not all(isinstance(part, str | int | float) for part in keys):
            raise TypeError("only texts and numbers have an order")
        # A sort looks at each key about twenty times.
        runtime.pay(20 * sum(len(part) if isinstance(part, str) else 1 for part in keys))
        keys = [part.lower() if isinstance(part, str) and not case_sensitive else part for part in keys]
        return keys[0] if len(keys) == 1 else keys

    return key


def _sort(
    runtime: TemplateRuntime,
    value: Any,
    reverse: bool = False,
    case_sensitive: bool = False,
    attribute: Any = None,
) -> list[Any]:
    """``sort(reverse, case_sensitive, attribute)``: the items in order."""
    return sorted(_list(runtime, value), key=_sort_key(runtime, attribute, case_sensitive), reverse=reverse)


def _dictsort(
    runtime: TemplateRuntime, value: Any, case_sensitive: bool = False, by: str = "key", reverse: bool = False
) -> list[tuple[Any, Any]]:
    """``dictsort(case_sensitive, by, reverse)``: the pairs of a dict in the order of keys or of values."""
    key = _sort_key(runtime, {"key": 0, "value": 1}[by], case_sensitive)
    return sorted(_items(runtime, value), key=key, reverse=reverse)


def _extreme(
    runtime: TemplateRuntime,
    value: Any,
    case_sensitive: bool = False,
    attribute: Any = None,
    *,
    pick: Callable[..., Any],
) -> Any:
    """``min`` and ``max``: the least or the greatest item, found by `pick`."""
    items = _list(runtime, value)
    if not items:
        return runtime.environment.undefined("No aggregated item, sequence was empty.")
    return pick(items, key=_sort_key(runtime, attribute, case_sensitive))


def _unique(
    runtime: TemplateRuntime, value: Any, case_sensitive: bool = False, attribute: Any = None
) -> list[Any]:
    """``unique(case_sensitive, attribute)``: the items without those that are equal to an earlier one."""
    get = _getter(runtime, attribute)
    seen: dict[Any, Any] = {}
    for item in runtime.each(64, value):
        key = runtime.key(get(item))
        seen.setdefault(key.lower() if isinstance(key, str) and not case_sensitive else key, item)
    return list(seen.values())


def _map(runtime: TemplateRuntime, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """``map(...)``: one attribute of each item, or what a filter makes of each."""
    items = runtime.each(64, value or ())
    if not args:
        return list(map(_getter(runtime, kwargs["attribute"], kwargs.get("default")), items))
    name, *rest = args
    change = runtime.environment.filters[name]
    return [change(runtime, item, *rest, **kwargs) for item in items]


def _select(
    runtime: TemplateRuntime, value: Any, *args: Any, wanted: bool, by_attribute: bool = False
) -> list[Any]:
    """``select``, ``reject``, ``selectattr`` and ``rejectattr``: the items for which a test answers as wanted."""
    get = _getter(runtime, args[0] if by_attribute else None)
    test, *rest = args[by_attribute:] or (None,)
    check: Any = TemplateRuntime.truth if test is None else runtime.environment.tests[test]
    return [
        item for item in runtime.each(64, value or ()) if bool(check(runtime, get(item), *rest)) is wanted
    ]


def _sum(runtime: TemplateRuntime, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    """``sum(attribute, start)``: the items, or one attribute of each, added up."""
    get = _getter(runtime, attribute)
    for item in runtime.each(1, value):
        start = runtime.add(start, get(item))
    return start


#: The filters by their names; each takes the runtime, the value and its own arguments.
COLLECTION_FILTERS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("d", "default"), _default),
    **dict.fromkeys(("count", "length"), _length),
    "attr": _attr,
    "dictsort": _dictsort,
    "first": _first,
    "items": _items,
    "join": _join,
    "last": _last,
    "list": _list,
    "map": _map,
    "max": preset(_extreme, pick=max),
    "min": preset(_extreme, pick=min),
    "reject": preset(_select, wanted=False),
    "rejectattr": preset(_select, wanted=False, by_attribute=True),
    "reverse": _reverse,
    "select": preset(_select, wanted=True),
    "selectattr": preset(_select, wanted=True, by_attribute=True),
    "sort": _sort,
    "sum": _sum,
    "unique": _unique,
}
