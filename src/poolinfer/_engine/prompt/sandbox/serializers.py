"""Values of chat templates as text: as JSON, and as Python's ``repr``, with authors kept and costs paid."""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

from .authored_text import FOREIGN, TRUSTED, AuthoredText, runs
from .fuel import Pay

#: Deepest nesting of what is written.
MAX_DEPTH = 100
#: Deepest indent that a template may ask for.
MAX_INDENT = 100


def text(pay: Pay, value: Any) -> str:
    """A value as ``str`` shows it."""
    return value if isinstance(value, str) else python(pay, value)


def python(pay: Pay, value: Any) -> str:
    """A value as ``repr`` shows it."""
    writer = _ValueWriter(pay)
    writer.python(value, 0)
    return writer.text()


def json(
    pay: Pay,
    value: Any,
    *,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """A value as ``json.dumps`` writes it."""
    if isinstance(indent, int):
        indent = " " * narrow_indent(indent)
    between, colon = separators or ("," if indent is not None else ", ", ": ")
    encode = encode_basestring_ascii if ensure_ascii else encode_basestring
    writer = _JsonWriter(pay, encode, indent, between, colon, bool(sort_keys))
    writer.json(value, 0)
    return writer.text()


def narrow_indent(indent: int) -> int:
    """An indent, if it is small; a negative one is none.

    Raises:
        ValueError: the indent is more than `MAX_INDENT`.
    """
    if indent > MAX_INDENT:
        raise ValueError(f"an indent of more than {MAX_INDENT}")
    return max(0, indent)


class _ValueWriter:
    """Collects the pieces of a text with their authors, and pays for each."""

    def __init__(self, pay: Pay) -> None:
        self._pay = pay
        self._texts: list[str] = []
        self._origins: list[bytes] = []

    def text(self) -> str:
        """All that was added."""
        text, by = "".join(self._texts), b"".join(self._origins)
        return AuthoredText(text, by) if TRUSTED in by or FOREIGN in by else text

    def write(self, text: str) -> None:
        """Add a text that the template or poolinfer has written."""
        self._pay(24 + len(text))
        self._texts.append(text)
        self._origins.append(bytes(len(text)))

    def quoted(self, text: str, encode: Callable[[str], str]) -> None:
        """Add a text between quotes, with escapes; its authors wrote what is between the quotes."""
        self._pay(24 + 2 * len(text))
        encoded = encode(text)
        if not isinstance(text, AuthoredText):
            self._texts.append(encoded)
            self._origins.append(bytes(len(encoded)))
            return
        by = text.origin
        if by == by[:1] * len(by):
            self._texts.append(encoded)
            self._origins.append(b"\0" + by[:1] * (len(encoded) - 2) + b"\0" if by else b"\0\0")
            return
        quote = encoded[0]
        self.write(quote)
        for piece, author in runs(text):
            encoded = encode(piece)[1:-1]
            self._texts.append(encoded)
            self._origins.append(bytes((author,)) * len(encoded))
        self.write(quote)

    def python(self, value: Any, depth: int) -> None:
        """Add a value as ``repr`` shows it."""
        _check_depth(depth)
        if isinstance(value, str):
            self.quoted(value, _repr_like(value))
        elif isinstance(value, dict):
            self.write("{")
            for index, (key, item) in enumerate(value.items()):
                if index:
                    self.write(", ")
                self.python(key, depth + 1)
                self.write(": ")
                self.python(item, depth + 1)
            self.write("}")
        elif isinstance(value, list | tuple):
            self.write("[" if isinstance(value, list) else "(")
            for index, item in enumerate(value):
                if index:
                    self.write(", ")
                self.python(item, depth + 1)
            self.write("]" if isinstance(value, list) else ",)" if len(value) == 1 else ")")
        elif value is None or isinstance(value, bool | int | float | range):
            self.write(repr(value))
        else:
            # Never an object's own repr: it may hold addresses, or values that nobody has paid for.
            self.write(f"<{type(value).__name__}>")


class _JsonWriter(_ValueWriter):
    """Writes JSON.

    Args:
        pay: pays for what is written.
        encode: encodes a text, quotes included.
        indent: what a level is indented by; None for all on one line.
        between: what stands between two items.
        colon: what stands between a key and its value.
        sort_keys: whether keys are sorted.
    """

    def __init__(
        self,
        pay: Pay,
        encode: Callable[[str], str],
        indent: str | None,
        between: str,
        colon: str,
        sort_keys: bool,
    ) -> None:
        super().__init__(pay)
        self._encode = encode
        self._indent = indent
        self._between = between
        self._colon = colon
        self._sort_keys = sort_keys

    def json(self, value: Any, depth: int) -> None:
        """Add a value as ``json.dumps`` writes it."""
        _check_depth(depth)
        if isinstance(value, str):
            self.quoted(value, self._encode)
        elif isinstance(value, dict):
            keys = sorted(value) if self._sort_keys else value
            self.write("{")
            for index, key in enumerate(keys):
                self._next(index, depth + 1)
                self.quoted(key if isinstance(key, str) else _atom(key), self._encode)
                self.write(self._colon)
                self.json(value[key], depth + 1)
            self._end("}", value, depth)
        elif isinstance(value, list | tuple):
            self.write("[")
            for index, item in enumerate(value):
                self._next(index, depth + 1)
                self.json(item, depth + 1)
            self._end("]", value, depth)
        else:
            self.write(_atom(value))

    def _next(self, index: int, depth: int) -> None:
        """Add what stands before an item."""
        if self._indent is not None:
            self.write((self._between if index else "") + "\n" + self._indent * depth)
        elif index:
            self.write(self._between)

    def _end(self, bracket: str, items: Any, depth: int) -> None:
        """Add what stands after the last item."""
        self.write(bracket if self._indent is None or not items else "\n" + self._indent * depth + bracket)


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RecursionError("it is nested too deeply")


def _repr_like(text: str) -> Callable[[str], str]:
    """``repr`` for any piece of a text, with the quotes that it takes for the whole text."""
    if "'" in text and '"' not in text:
        return lambda piece: '"' + repr("'" + piece)[2:]
    return lambda piece: "'" + repr('"' + piece)[2:]


def _atom(value: Any) -> str:
    """A number, a bool or None as JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if value != value:
            return "NaN"
        infinite = {float("inf"): "Infinity", float("-inf"): "-Infinity"}
        return infinite.get(value) or float.__repr__(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
