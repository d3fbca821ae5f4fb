"""The filters of chat templates that make something of a text: Jinja's, with authors kept and costs paid."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import serializers, text_methods
from .authored_text import SafeText, author, cut, join, origin, written
from .function_tables import preset
from .runtime import TemplateRuntime, check_bits

_WORD = re.compile(r"\w+")
_WORD_START = re.compile(r"([-\s({\[<]+)")
# What a character of a JSON text costs: an empty list in a list takes three of them, and 64 bytes.
_JSON_COST = 32


def _replace(runtime: TemplateRuntime, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    """``replace(old, new, count)``: the text with `old` replaced, everywhere or at the first `count` places."""
    text, old, new = runtime.text(value), runtime.text(old), runtime.text(new)
    return text_methods.replace(runtime.pay, text, old, new, -1 if count is None else count)


def _trim(runtime: TemplateRuntime, value: Any, chars: str | None = None) -> str:
    """``trim(chars)``: the text without whitespace, or without the characters given, at its ends."""
    return text_methods.strip(runtime.pay, runtime.text(value), chars)


def _cased(runtime: TemplateRuntime, value: Any, change: Callable[[str], str]) -> str:
    """``lower``, ``upper``, ``capitalize``: the text in another case."""
    return text_methods.cased(runtime.pay, runtime.text(value), change)


def _title(runtime: TemplateRuntime, value: Any) -> str:
    """``title``: the text with a capital at the beginning of each word."""
    text = runtime.text(value)
    # Each word becomes a text of its own.
    runtime.pay(text_methods.PIECE_COST // 2 * len(text))
    return text_methods.cased(runtime.pay, text, _title_case)


def _title_case(text: str) -> str:
    """A text with a capital at the beginning of each word, as Jinja finds words."""
    return "".join(word[0].upper() + word[1:].lower() for word in _WORD_START.split(text) if word)


def _escape(runtime: TemplateRuntime, value: Any) -> str:
    """``escape``: the text with the characters escaped that mean something in HTML."""
    return text_methods.escaped(runtime.pay, runtime.text(value))


def _safe(runtime: TemplateRuntime, value: Any) -> str:
    """``safe``: the text, marked so that ``+`` escapes what it joins to it."""
    text = runtime.text(value)
    runtime.pay(2 * len(text))
    return SafeText(text, origin(text))


def _indent(
    runtime: TemplateRuntime, value: Any, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    """``indent(width, first, blank)``: the lines of the text indented, but for the first one and empty ones."""
    indention = width if isinstance(width, str) else " " * serializers.narrow_indent(width)
    serializers.narrow_indent(len(indention))
    lines = text_methods.splitlines(runtime.pay, runtime.add(runtime.text(value), "\n"))
    runtime.pay(sum(map(len, lines)) + len(lines) * (len(indention) + 1))
    shown = [line if not (line or blank) else join((indention, line)) for line in lines[1:]]
    text = join([lines[0], *shown], "\n")
    return join((indention, text)) if first else text


def _truncate(
    runtime: TemplateRuntime,
    value: Any,
    length: int = 255,
    killwords: bool = False,
    end: str = "...",
    leeway: int = 5,
) -> str:
    """``truncate(length, killwords, end, leeway)``: the text cut to a length, between words unless `killwords`."""
    text = runtime.text(value)
    if not len(end) <= length or leeway < 0:
        raise ValueError(f"a text cannot be cut to {length} characters")
    if len(text) <= length + leeway:
        return text
    runtime.pay(2 * length)
    kept = cut(text, 0, length - len(end))
    return join((kept if killwords else text_methods.rsplit(runtime.pay, kept, " ", 1)[0], end))


def _wordcount(runtime: TemplateRuntime, value: Any) -> int:
    """``wordcount``: how many words the text has."""
    text = runtime.text(value)
    runtime.pay(len(text))
    return sum(1 for _ in _WORD.finditer(text))


def _tojson(
    runtime: TemplateRuntime,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """``tojson(...)``: the value as JSON text; takes what Hugging Face's filter of that name takes."""
    if isinstance(indent, str):
        serializers.narrow_indent(len(indent))
    return serializers.json(
        *(runtime.pay, value),
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _from_json(runtime: TemplateRuntime, value: Any) -> Any:
    """``from_json``: the value that a JSON text spells; its author wrote all of it."""
    text = runtime.text(value)
    runtime.pay(_JSON_COST * len(text))
    return _spelled(json.loads(str.__str__(text)), author(text))


def _spelled(value: Any, by: int) -> Any:
    """A decoded value with the author of all its texts."""
    if isinstance(value, str):
        return written(value, by)
    if isinstance(value, dict):
        return {written(key, by): _spelled(item, by) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item, by) for item in value]
    if isinstance(value, int):
        check_bits(value.bit_length())
    return value


#: The filters by their names; each takes the runtime, the value and its own arguments.
TEXT_FILTERS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("e", "escape"), _escape),
    "from_json": _from_json,
    "capitalize": preset(_cased, change=str.capitalize),
    "indent": _indent,
    "lower": preset(_cased, change=str.lower),
    "replace": _replace,
    "safe": _safe,
    "string": TemplateRuntime.text,
    "title": _title,
    "tojson": _tojson,
    "trim": _trim,
    "truncate": _truncate,
    "upper": preset(_cased, change=str.upper),
    "wordcount": _wordcount,
}
