"""Writing tool calls as a model spells them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .json_types import json_type
from .tool_format import ToolFormat

#: Name, arguments and id of a call.
Call = tuple[str, Mapping[str, Any], str]


def written_calls(form: ToolFormat, calls: Sequence[Call]) -> str:
    """Calls as a model spells them: one section, or several where each call has a section of its own."""
    bracketed = form.kind in ("array", "pythonic")
    write = _WRITERS[form.kind]
    texts = [form.call_open + write(form, call, index) + form.call_close for index, call in enumerate(calls)]
    body = form.separator.join(texts)
    return form.section_open + (f"[{body}]" if bracketed else body) + form.section_close


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object(form: ToolFormat, call: Call, _: int) -> str:
    name, arguments, number = call
    if not form.name_key:
        return _json({name: arguments})
    found: dict[str, Any] = {form.name_key: name, form.arguments_key: arguments}
    if form.id_key:
        found = {**found, form.id_key: number} if form.id_last else {form.id_key: number, **found}
    return _json(found)


def _named(form: ToolFormat, call: Call, index: int) -> str:
    name, arguments, number = call
    if form.first_number is not None:
        number = str(form.first_number + index)
    head = {
        "before": f"{number}{form.id_mark}{name}",
        "after": f"{name}{form.id_mark}{number}",
        "within": f"{form.id_prefix}{name}{form.id_mark}{index}",
    }.get(form.id_place, name)
    if not arguments and form.no_arguments:
        return head + form.no_arguments
    close = form.name_closes[0] + (name + form.name_end if form.name_end else "")
    if form.kind == "tagged":
        return head + close + "".join(_tagged(form, key, value) for key, value in arguments.items())
    return head + close + _value(form, arguments)


def _pythonic(form: ToolFormat, call: Call, _: int) -> str:
    name, arguments = call[:2]
    return f"{name}({', '.join(f'{key}={_value(form, value)}' for key, value in arguments.items())})"


def _tagged(form: ToolFormat, key: str, value: object) -> str:
    """An argument and its marks."""
    close = dict(form.key_closes).get(json_type(value), form.key_close)
    end = form.value_close + key + form.value_end if form.value_end else form.value_close
    return form.key_open + key + close + _plain(form, value) + end


def _plain(form: ToolFormat, value: object) -> str:
    """A value between marks, where strings have no quotes."""
    if isinstance(value, str):
        return value
    if form.item and isinstance(value, Mapping):
        return "".join(_tagged(form, key, part) for key, part in value.items())
    if form.item and isinstance(value, list | tuple):
        return "".join(_tagged(form, form.item, part) for part in value)
    if form.python_values and (value is None or isinstance(value, bool)):
        return str(value)
    return _json(value)


def _value(form: ToolFormat, value: object) -> str:
    """A value in an object, or in Python's syntax."""
    if form.quote == '"' and not form.python_values:
        return _json(value)
    comma, space = (",", "") if form.bare_keys else (", ", " ")
    if isinstance(value, str):
        return form.quote + (_escaped(value, form.quote) if form.quote in "\"'" else value) + form.quote
    if isinstance(value, Mapping):
        pairs = (
            (key if form.bare_keys else _value(form, key)) + ":" + space + _value(form, part)
            for key, part in value.items()
        )
        return "{" + comma.join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + comma.join(_value(form, part) for part in value) + "]"
    return str(value) if form.python_values else _json(value)


def _escaped(text: str, quote: str) -> str:
    return text.replace("\\", "\\\\").replace(quote, "\\" + quote).replace("\n", "\\n").replace("\r", "\\r")


_WRITERS: Mapping[str, Callable[[ToolFormat, Call, int], str]] = {
    "object": _object,
    "array": _object,
    "named": _named,
    "tagged": _named,
    "pythonic": _pythonic,
}
