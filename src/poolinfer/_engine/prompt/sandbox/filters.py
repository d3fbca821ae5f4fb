"""The filters of chat templates: Jinja's, with origins kept and costs paid."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from jinja2.runtime import Undefined

from . import serializers, text_methods
from .authored_text import Safe, cut, join, origin
from .runtime import Function, Runtime
from .template_globals import TESTS, contextual

#: Longest number that is read from a text.
MAX_NUMBER = 1000
#: Most names in a path to a nested item, and most paths that things are sorted by.
MAX_PATH = 64

_WORD = re.compile(r"\w+")
_WORD_START = re.compile(r"([-\s({\[<]+)")


# --- texts


def _replace(runtime: Runtime, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = runtime.text(value), runtime.text(old), runtime.text(new)
    return text_methods.replace(runtime.pay, text, old, new, -1 if count is None else count)


def _trim(runtime: Runtime, value: Any, chars: str | None = None) -> str:
    return text_methods.strip(runtime.pay, runtime.text(value), chars)


def _cased(runtime: Runtime, value: Any, change: Callable[[str], str]) -> str:
    return text_methods.cased(runtime.pay, runtime.text(value), change)


def _title(runtime: Runtime, value: Any) -> str:
    text = runtime.text(value)
    # Each word becomes a text of its own.
    runtime.pay(text_methods.PIECE // 2 * len(text))
    return text_methods.cased(runtime.pay, text, _titled)


def _titled(text: str) -> str:
    return "".join(word[0].upper() + word[1:].lower() for word in _WORD_START.split(text) if word)


def _escape(runtime: Runtime, value: Any) -> str:
    return text_methods.escaped(runtime.pay, runtime.text(value))


def _safe(runtime: Runtime, value: Any) -> str:
    text = runtime.text(value)
    runtime.pay(2 * len(text))
    return Safe(text, origin(text))


def _indent(
    runtime: Runtime, value: Any, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    indention = width if isinstance(width, str) else " " * serializers.narrow_indent(width)
    serializers.narrow_indent(len(indention))
    lines = text_methods.splitlines(runtime.pay, runtime.add(runtime.text(value), "\n"))
    runtime.pay(sum(map(len, lines)) + len(lines) * (len(indention) + 1))
    shown = [line if not (line or blank) else join((indention, line)) for line in lines[1:]]
    text = join([lines[0], *shown], "\n")
    return join((indention, text)) if first else text


def _join(runtime: Runtime, value: Any, d: Any = "", attribute: Any = None) -> str:
    items = runtime.each(8, value)
    if attribute is not None:
        items = map(_getter(runtime, attribute), items)
    return text_methods.joined(runtime.pay, runtime.text(d), (runtime.text(item) for item in items))


def _truncate(
    runtime: Runtime,
    value: Any,
    length: int = 255,
    killwords: bool = False,
    end: str = "...",
    leeway: int = 5,
) -> str:
    text = runtime.text(value)
    if not len(end) <= length or leeway < 0:
        raise ValueError(f"a text cannot be cut to {length} characters")
    if len(text) <= length + leeway:
        return text
    runtime.pay(2 * length)
    kept = cut(text, 0, length - len(end))
    return join((kept if killwords else text_methods.rsplit(runtime.pay, kept, " ", 1)[0], end))


def _wordcount(runtime: Runtime, value: Any) -> int:
    text = runtime.text(value)
    runtime.pay(len(text))
    return sum(1 for _ in _WORD.finditer(text))


def _tojson(
    runtime: Runtime,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if isinstance(indent, str):
        serializers.narrow_indent(len(indent))
    return serializers.json(
        *(runtime.pay, value),
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


# --- numbers


def _int(_: Runtime, value: Any, default: int = 0, base: int = 10) -> Any:
    if isinstance(value, str) and len(value) > MAX_NUMBER:
        return default
    try:
        return int(value, base) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        try:
            return int(float(value))
        except (TypeError, ValueError, OverflowError):
            return default


def _float(_: Runtime, value: Any, default: float = 0.0) -> Any:
    if isinstance(value, str) and len(value) > MAX_NUMBER:
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        return default


def _round(_: Runtime, value: Any, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > MAX_NUMBER:
        raise ValueError(f"rounding to {precision} places")
    if method == "common":
        return round(value, precision)
    change = {"ceil": math.ceil, "floor": math.floor}[method]
    return change(value * 10**precision) / 10**precision


def _sum(runtime: Runtime, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    get = _getter(runtime, attribute)
    for item in runtime.each(1, value):
        start = runtime.add(start, get(item))
    return start


# --- lists and dicts


def _default(_: Runtime, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


def _getter(runtime: Runtime, attribute: Any, default: Any = None) -> Callable[[Any], Any]:
    """What takes a nested item, named by a dotted path, out of a value."""
    names = [] if attribute is None else _parts(runtime, attribute, ".")
    path = [int(name) if isinstance(name, str) and name.isdecimal() else name for name in names]

    def get(value: Any) -> Any:
        for name in path:
            value = runtime.item(value, name)
            if default is not None and isinstance(value, Undefined):
                value = default
        return value

    return get


def _parts(runtime: Runtime, attribute: Any, separator: str) -> list[Any]:
    if not isinstance(attribute, str):
        return [attribute]
    runtime.pay(len(attribute))
    if attribute.count(separator) >= MAX_PATH:
        raise ValueError(f"a path of more than {MAX_PATH} names")
    return attribute.split(separator)


def _listed(runtime: Runtime, value: Any) -> list[Any]:
    return list(runtime.each(8, value))


def _length(runtime: Runtime, value: Any) -> int:
    return len(value if isinstance(value, str) else runtime.each(0, value))


def _items(runtime: Runtime, value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Undefined):
        return []
    if not isinstance(value, dict):
        raise TypeError("Can only get item pairs from a mapping.")
    runtime.pay(64 * len(value))
    return list(value.items())


def _first(runtime: Runtime, value: Any) -> Any:
    for item in runtime.each(0, value):
        return item
    return runtime.environment.undefined("No first item, sequence was empty.")


def _last(runtime: Runtime, value: Any) -> Any:
    if isinstance(value, str):
        return runtime.item(value, -1)
    for item in reversed(runtime.each(0, value)):
        return item
    return runtime.environment.undefined("No last item, sequence was empty.")


def _reverse(runtime: Runtime, value: Any) -> Any:
    if isinstance(value, str):
        return runtime.slice(value, None, None, -1)
    return list(reversed(_listed(runtime, value)))


def _attr(runtime: Runtime, value: Any, name: str) -> Any:
    if isinstance(value, dict) and not isinstance(runtime.attribute({}, name), Function):
        return runtime.environment.undefined(obj=value, name=name)
    return runtime.attribute(value, name)


def _sort_key(runtime: Runtime, attribute: Any, case_sensitive: bool) -> Callable[[Any], Any]:
    getters = [_getter(runtime, name) for name in _parts(runtime, attribute, ",")]

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
    runtime: Runtime, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: Any = None
) -> list[Any]:
    return sorted(_listed(runtime, value), key=_sort_key(runtime, attribute, case_sensitive), reverse=reverse)


def _dictsort(
    runtime: Runtime, value: Any, case_sensitive: bool = False, by: str = "key", reverse: bool = False
) -> list[tuple[Any, Any]]:
    key = _sort_key(runtime, {"key": 0, "value": 1}[by], case_sensitive)
    return sorted(_items(runtime, value), key=key, reverse=reverse)


def _extreme(
    runtime: Runtime,
    value: Any,
    case_sensitive: bool = False,
    attribute: Any = None,
    *,
    pick: Callable[..., Any],
) -> Any:
    items = _listed(runtime, value)
    if not items:
        return runtime.environment.undefined("No aggregated item, sequence was empty.")
    return pick(items, key=_sort_key(runtime, attribute, case_sensitive))


def _unique(runtime: Runtime, value: Any, case_sensitive: bool = False, attribute: Any = None) -> list[Any]:
    get = _getter(runtime, attribute)
    seen: dict[Any, Any] = {}
    for item in runtime.each(64, value):
        key = runtime.key(get(item))
        seen.setdefault(key.lower() if isinstance(key, str) and not case_sensitive else key, item)
    return list(seen.values())


def _map(runtime: Runtime, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
    items = runtime.each(64, value or ())
    if not args:
        return list(map(_getter(runtime, kwargs["attribute"], kwargs.get("default")), items))
    name, *rest = args
    change = FILTERS[name]
    return [change(runtime, item, *rest, **kwargs) for item in items]


def _select(runtime: Runtime, value: Any, *args: Any, wanted: bool, by_attribute: bool = False) -> list[Any]:
    get = _getter(runtime, args[0] if by_attribute else None)
    test, *rest = args[by_attribute:] or (None,)
    check = Runtime.truth if test is None else TESTS[test]
    return [
        item for item in runtime.each(64, value or ()) if bool(check(runtime, get(item), *rest)) is wanted
    ]


#: The filters by their names.
FILTERS: dict[str, Callable[..., Any]] = contextual(
    {
        **dict.fromkeys(("d", "default"), _default),
        **dict.fromkeys(("e", "escape"), _escape),
        **dict.fromkeys(("count", "length"), _length),
        "abs": lambda _, value: abs(value),
        "attr": _attr,
        "capitalize": text_methods.preset(_cased, change=str.capitalize),
        "dictsort": _dictsort,
        "first": _first,
        "float": _float,
        "indent": _indent,
        "int": _int,
        "items": _items,
        "join": _join,
        "last": _last,
        "list": _listed,
        "lower": text_methods.preset(_cased, change=str.lower),
        "map": _map,
        "max": text_methods.preset(_extreme, pick=max),
        "min": text_methods.preset(_extreme, pick=min),
        "reject": text_methods.preset(_select, wanted=False),
        "rejectattr": text_methods.preset(_select, wanted=False, by_attribute=True),
        "replace": _replace,
        "reverse": _reverse,
        "round": _round,
        "safe": _safe,
        "select": text_methods.preset(_select, wanted=True),
        "selectattr": text_methods.preset(_select, wanted=True, by_attribute=True),
        "sort": _sort,
        "string": Runtime.text,
        "sum": _sum,
        "title": _title,
        "tojson": _tojson,
        "trim": _trim,
        "truncate": _truncate,
        "unique": _unique,
        "upper": text_methods.preset(_cased, change=str.upper),
        "wordcount": _wordcount,
    }
)
