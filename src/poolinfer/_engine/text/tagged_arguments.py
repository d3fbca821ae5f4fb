"""Reading arguments that stand one by one between marks, and writing them as one JSON object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .finder import Automaton
from .parameter_types import STRING, Parameter, ParameterTypes, Types, json_text
from .scanner import Misspelled, Reading, Scanner
from .tool_format import ToolFormat
from .value_reader import MAX_DEPTH, MAX_WORD, escaped

_CDATA = "<![CDATA["
_CDATA_END = Automaton(["]]>"])


@dataclass(slots=True)
class _Element:
    """A value that is written as marks within marks.

    Attributes:
        name: the name in its marks.
        texts: the text between its marks.
        parts: what stands between its marks otherwise.
    """

    name: str
    texts: list[str] = field(default_factory=list)
    parts: list[_Element] = field(default_factory=list)


class TaggedArguments:
    """Reads the arguments of calls whose format is of the kind ``tagged``.

    A string is passed on as it grows. Any other value is passed on when it is complete, as its type may show late.

    Args:
        format: how the model spells calls.
        types: what is known of the tools.
        source: where the text comes from.
        write: takes the JSON text.
    """

    def __init__(
        self, format: ToolFormat, types: ParameterTypes, source: Scanner, write: Callable[[str], None]
    ) -> None:
        self._format, self._types, self._source, self._write = format, types, source, write
        closes = {format.key_close: "string", **{close: kind for kind, close in format.key_closes}}
        ends = {_halves(close): kind for close, kind in closes.items()}
        self._key_end = Automaton({first for first, _ in ends})
        self._key_types = {rest: kind for (_, rest), kind in ends.items()}
        self._first_line = format.key_close[len(format.key_close.rstrip()) :]
        self._value_ends = _value_ends(format, "")

    def read(self, tool: str, begin: Callable[[], None]) -> Reading[None]:
        """Read the arguments of a call, and the first of the marks that close it.

        Args:
            tool: the name of the called tool.
            begin: called when it is sure that this is a call.

        Raises:
            Misspelled: something else than an argument follows.
        """
        form, source = self._format, self._source
        close = (form.call_close.split() or form.section_close.split() or [""])[0]
        first = True
        # The mark of a key may be the beginning of the one that closes the call, so that one is tried first.
        while not close or (yield from source.mark([close])) is None:
            if (yield from source.mark([form.key_open])) is None:
                if not close:
                    break
                raise Misspelled
            if first:
                begin()
            key, declared = yield from self._key()
            self._write(f'{"{" if first else ", "}"{escaped(key)}": ')
            first = False
            yield from self._value(self._types.parameter(tool, key), key, declared)
        if first:
            begin()
        self._write("{}" if first else "}")

    def _key(self) -> Reading[tuple[str, str | None]]:
        """Read a key; it, and the type of its value, if the marks say so."""
        parts: list[str] = []
        yield from self._source.until(self._key_end, _bounded(parts))
        rests = self._key_types
        found = "" if list(rests) == [""] else (yield from self._source.mark(rests))
        if found is None:
            raise Misspelled
        yield from self._source.starts(self._first_line)
        return "".join(parts), rests[found] if self._format.key_closes else None

    def _value(self, parameter: Parameter, key: str, declared: str | None) -> Reading[None]:
        """Read a value and the mark after it."""
        form, source = self._format, self._source
        ends = _value_ends(form, key) if form.value_end else self._value_ends
        types: Types = frozenset({declared}) if declared else parameter.types
        if form.cdata and (yield from source.starts(_CDATA)):
            yield from self._string(_CDATA_END)
            yield from source.mark([form.value_close.split()[0]])
        elif types == STRING:
            yield from self._string(ends)
        elif form.item:
            element = yield from self._element(key)
            self._write(_element_text(element, parameter, form.item))
        else:
            parts: list[str] = []
            yield from source.until(ends, parts.append)
            self._write(json_text("".join(parts), types))
        for mark in form.value_close.split()[1:]:
            yield from source.mark([mark])

    def _string(self, ends: Automaton) -> Reading[None]:
        self._write('"')
        yield from self._source.until(ends, lambda text: self._write(escaped(text)))
        self._write('"')

    def _element(self, key: str) -> Reading[_Element]:
        """Read a value that may hold marks within marks, and its own closing mark."""
        form, source = self._format, self._source
        marks = Automaton([form.key_open, form.value_close], longest=True)
        open_ones = [_Element(key)]
        while True:
            found = yield from source.until(marks, open_ones[-1].texts.append)
            name: list[str] = []
            yield from source.until(Automaton([form.value_end]), _bounded(name))
            if found == form.key_open:
                if len(open_ones) > MAX_DEPTH:
                    raise Misspelled
                element = _Element("".join(name))
                open_ones[-1].parts.append(element)
                open_ones.append(element)
                continue
            element = open_ones.pop()
            if element.name != "".join(name):
                raise Misspelled
            if not open_ones:
                return element


def _halves(mark: str) -> tuple[str, str]:
    """A mark up to its first whitespace, and what follows that."""
    first, *rest = mark.split(None, 1) or [""]
    return first, rest[0].rstrip() if rest else ""


def _value_ends(form: ToolFormat, key: str) -> Automaton:
    """What ends a value: with the whitespace that belongs to the mark, or without."""
    close = form.value_close + key + form.value_end if form.value_end else form.value_close
    mark = (close.split(None, 1) or [""])[0]
    return Automaton([close[: len(close) - len(close.lstrip())] + mark, mark])


def _bounded(parts: list[str]) -> Callable[[str], None]:
    """Takes the pieces of a key, up to a bound."""
    size = 0

    def write(text: str) -> None:
        nonlocal size
        parts.append(text)
        size += len(text)
        if size > MAX_WORD:
            raise Misspelled

    return write


def _element_text(element: _Element, parameter: Parameter, item: str) -> str:
    """The JSON text of a value that is written as marks within marks."""
    types = parameter.types
    if not element.parts:
        text = "".join(element.texts)
        if not text and types is not None and "string" not in types:
            return "[]" if "array" in types else "{}" if "object" in types else '""'
        return json_text(text, types)
    if all(part.name == item for part in element.parts) and (types is None or "array" in types):
        inner = parameter.item()
        return f"[{', '.join(_element_text(part, inner, item) for part in element.parts)}]"
    members = (
        f'"{escaped(part.name)}": {_element_text(part, parameter.member(part.name), item)}'
        for part in element.parts
    )
    return f"{{{', '.join(members)}}}"
