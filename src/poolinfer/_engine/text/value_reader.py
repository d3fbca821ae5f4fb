"""Reading a value as models write it in tool calls, and writing it as JSON text, piece by piece."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .finder import Automaton
from .scanner import SPACE, Misspelled, Reading, Scanner

#: Levels of lists and objects in a value; what callers give has no more either.
MAX_DEPTH = 32
#: Most characters of a number or of a key without quotes.
MAX_WORD = 1024

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_BARE_KEY = re.compile(r"[^:{}\[\],\"'\s]+")
_CONSTANTS = {
    **{name: name for name in ("true", "false", "null")},
    "True": "true",
    "False": "false",
    "None": "null",
}
_QUOTES = ('"', "'")
_CLOSING = {"{": "}", "[": "]"}
#: What needs no second look in a string, by its quotes.
_PLAIN = {'"': re.compile(r'[^"\\]+'), "'": re.compile(r"[^'\\]+")}
#: What may follow a string; other text after a single quote shows that the quote is part of the string.
_AFTER_STRING = frozenset(",)]}:")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_HEX = re.compile(r"[0-9a-fA-F]+")
_JSON_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_NEEDS_ESCAPE = re.compile(r"[\"\\\x00-\x1f\ud800-\udfff]")


def escaped(text: str) -> str:
    """A text as it stands within the quotes of a JSON string; lone surrogates become replacement marks."""
    return _NEEDS_ESCAPE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"
    return _JSON_ESCAPES.get(char) or f"\\u{ord(char):04x}"


@dataclass(slots=True)
class ValueReader:
    """Reads values and writes them as JSON text in the style of `json.dumps`.

    The values are JSON, or what models write in its place: Python's constants and single quotes, line breaks within
    strings, a comma after the last item.

    Attributes:
        source: where the text comes from.
        write: takes the JSON text.
        quote: what stands around strings; where it is not a quote, quotes may stand there, too.
        bare_keys: whether keys may stand without quotes.
    """

    source: Scanner
    write: Callable[[str], None]
    quote: str = '"'
    bare_keys: bool = False
    _stack: list[str] = field(default_factory=list)

    def value(self) -> Reading[None]:
        """Read one value.

        Raises:
            Misspelled: there is none; what was written remains the beginning of one.
        """
        depth = len(self._stack)
        first = True
        while True:
            char = yield from self.source.after_space()
            if len(self._stack) > depth and char == _CLOSING[self._stack[-1]]:
                ended = yield from self._after_value(depth)
            else:
                if not first:
                    self.write(", ")
                if len(self._stack) > depth and self._stack[-1] == "{":
                    yield from self.key()
                    char = yield from self.source.after_space()
                if char and char in _CLOSING:
                    self._open(char)
                    first = True
                    continue
                yield from self._scalar(char)
                ended = yield from self._after_value(depth)
            if ended:
                return
            first = False

    def key(self) -> Reading[None]:
        """Read a key and the colon after it."""
        char = yield from self.source.after_space()
        if self._opens_string(char):
            yield from self.string()
        elif self.bare_keys:
            key = yield from self.source.run(_BARE_KEY, MAX_WORD)
            self.write(f'"{escaped(key)}"')
        else:
            raise Misspelled
        yield from self.source.after_space()
        if not (yield from self.source.starts(":")):
            raise Misspelled
        self.write(": ")

    def string(self) -> Reading[None]:
        """Read a string."""
        self.write('"')
        if self.quote not in _QUOTES and (yield from self.source.starts(self.quote)):
            marks = Automaton([self.quote])
            yield from self.source.until(marks, lambda text: self.write(escaped(text)))
        else:
            char = yield from self.source.peek()
            if char not in _QUOTES:
                raise Misspelled
            self.source.skip()
            yield from self._quoted(char)
        self.write('"')

    def _opens_string(self, char: str) -> bool:
        return char in _QUOTES or char == self.quote[0]

    def _open(self, char: str) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise Misspelled
        self._stack.append(char)
        self.source.skip()
        self.write(char)

    def _after_value(self, depth: int) -> Reading[bool]:
        """Read what ends the lists and objects around a value, and the comma; whether the outermost has ended."""
        while len(self._stack) > depth:
            char = yield from self.source.after_space()
            if char == ",":
                self.source.skip()
                return False
            if char != _CLOSING[self._stack[-1]]:
                raise Misspelled
            self.source.skip()
            self.write(char)
            self._stack.pop()
        return True

    def _scalar(self, char: str) -> Reading[None]:
        if self._opens_string(char):
            yield from self.string()
            return
        word = yield from self.source.run(_WORD, MAX_WORD)
        if word in _CONSTANTS:
            self.write(_CONSTANTS[word])
        elif _NUMBER.fullmatch(word) and math.isfinite(float(word)):
            self.write(word)
        else:
            raise Misspelled

    def _quoted(self, quote: str) -> Reading[None]:
        """Read a string up to its closing quote."""
        while True:
            char = yield from self.source.peek()
            if not char:
                raise Misspelled
            if char == "\\":
                self.source.skip()
                self.write(escaped((yield from self._escape())))
            elif char != quote:
                self.write(escaped(self.source.available(_PLAIN[quote])))
            elif (yield from self._closes(quote)):
                return

    def _closes(self, quote: str) -> Reading[bool]:
        """Read a quote; whether it ends the string. If not, it is part of it."""
        self.source.skip()
        if quote == '"':
            return True
        blank = yield from self.source.run(SPACE, MAX_WORD)
        following = yield from self.source.peek()
        if not following or following in _AFTER_STRING:
            return True
        self.write(escaped(quote + blank))
        return False

    def _escape(self) -> Reading[str]:
        """Read what follows a backslash; the characters that it stands for."""
        char = yield from self.source.peek()
        self.source.skip(len(char))
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char not in _HEX_DIGITS:
            return "\\" + char
        code = yield from self._hex(_HEX_DIGITS[char])
        lone: list[str] = []
        while 0xD800 <= code < 0xDC00 and (yield from self.source.starts("\\u")):
            following = yield from self._hex(4)
            if 0xDC00 <= following < 0xE000:
                code = 0x10000 + (code - 0xD800 << 10) + (following - 0xDC00)
                break
            lone.append("\ufffd")
            code = following
        return "".join(lone) + (chr(code) if code <= 0x10FFFF else "\ufffd")

    def _hex(self, digits: int) -> Reading[int]:
        text = ""
        while len(text) < digits:
            char = yield from self.source.peek()
            if not _HEX.fullmatch(char):
                raise Misspelled
            self.source.skip()
            text += char
        return int(text, 16)
