"""GBNF, llama.cpp's form of grammars, as Lark.

GBNF's rules are about characters. Lark's are about tokens, and the longest token wins: ``"a" "bc" | "ab" "d"``
never matches ``abc`` there. So every character becomes a token of its own here, and the grammar keeps its meaning.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from .limits import LIMITS, count
from .refusals import refuse_grammar

_DEPTH = int(LIMITS["groups"].high)
_TIMES = int(LIMITS["regex_length"].high)
_FIRST = re.compile(r"^[^\S\n]*[A-Za-z][\w-]*\s*::=", re.MULTILINE)
_TOKEN = re.compile(
    r"""\s+ | \#[^\n]*
    | (?P<rule>[A-Za-z0-9_][\w-]*)\s*::=
    | (?P<name>[A-Za-z0-9_][\w-]*)
    | "(?P<text>(?:[^"\\]|\\.)*)"
    | \[(?P<set>(?:[^\]\\]|\\.)*)\]
    | (?P<any>\.)
    | (?P<times>[*+?]|\{\s*(?:\d+\s*)?(?:,\s*(?:\d+\s*)?)?\})
    | (?P<mark>[|()])""",
    re.VERBOSE | re.DOTALL,
)
_CHAR = re.compile(
    r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})|\\([nrt\\\"\[\]-])|([^\\])", re.DOTALL
)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_ANY = "/(?s:.)/"
_NOTHING = '""'


def is_gbnf(text: str) -> bool:
    """Whether a grammar is GBNF: in Lark, no rule begins with ``name ::=``."""
    return _FIRST.search(text) is not None


def lark_of_gbnf(field: str, text: str) -> str:
    """A grammar in GBNF as one in Lark that means the same.

    Raises:
        InvalidGrammar: the grammar is malformed, has no rule ``root`` or too many rules, or is nested too deeply.
    """
    if "\0" in text:
        refuse_grammar(field, text, "leave out the NUL")
    return _Converter(field, text).lark()


class _Converter:
    """Converts one grammar token by token: the two forms have the same marks.

    Attributes:
        rules: what each rule was converted to so far.
    """

    def __init__(self, field: str, text: str) -> None:
        self._field = field
        self._text = text
        self.rules: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}
        self._out: list[str] = []
        self._depth = 0
        # Whether something stands before, to be repeated.
        self._item = False

    def lark(self) -> str:
        """The whole grammar."""
        at = 0
        while at < len(self._text):
            found = _TOKEN.match(self._text, at)
            if found is None:
                self._refuse(
                    at, "use rules, texts, [sets], groups and repetitions; there are no tokens in GBNF here"
                )
            at = found.end()
            if found.lastgroup is not None:
                self._take(found.lastgroup, found[found.lastgroup], found.start())
        self._end_rule(at)
        count("rules", len(self.rules), self._field)
        for name in ("root", *self._names):
            if name not in self.rules:
                refuse_grammar(self._field, self._text, f"give a rule '{name[:60]} ::='")
        return "".join(f"{self._name(rule)}: {' '.join(parts)}\n" for rule, parts in self.rules.items())

    def _take(self, kind: str, said: str, at: int) -> None:
        if kind == "rule":
            self._end_rule(at)
            self._begin_rule(said, at)
        elif not self.rules:
            self._refuse(at, "begin with a rule 'root ::='")
        elif kind == "mark":
            self._mark(said, at)
        elif kind == "times":
            self._repeat(said, at)
        else:
            self._out.append(self._part(kind, said, at))
            self._item = True

    def _begin_rule(self, name: str, at: int) -> None:
        if name in self.rules:
            self._refuse(at, "give each rule once")
        self._out = self.rules[name] = []
        self._item = False

    def _name(self, rule: str) -> str:
        """What a rule is called in Lark, where names of rules have small letters and no hyphens."""
        plain = re.sub(r"\W", "_", rule.lower(), flags=re.ASCII)
        return self._names.setdefault(rule, "start" if rule == "root" else f"r{len(self._names)}_{plain}")

    def _end_rule(self, at: int) -> None:
        if self._depth:
            self._refuse(at, "close the group before")
        if self.rules:
            self._end_alternative()

    def _end_alternative(self) -> None:
        if not self._out or self._out[-1] in ("|", "("):
            self._out.append(_NOTHING)
        self._item = False

    def _mark(self, mark: str, at: int) -> None:
        if mark == "(":
            self._depth += 1
            if self._depth > _DEPTH:
                self._refuse(at, f"nest at most {_DEPTH} groups")
        else:
            self._end_alternative()
        self._out.append(mark)
        if mark == ")":
            self._depth -= 1
            if self._depth < 0:
                self._refuse(at, "open the group before")
        self._item = mark == ")"

    def _repeat(self, said: str, at: int) -> None:
        if not self._item:
            self._refuse(at, "let one repetition follow what is repeated")
        self._item = False
        if said[0] != "{":
            self._out[-1] += said
            return
        low, comma, high = said[1:-1].replace(" ", "").partition(",")
        if len(low) > 9 or len(high) > 9 or not (low or high):
            self._refuse(at, f"count to at most {_TIMES:,}")
        least = int(low or 0)
        most = int(high) if high else None if comma else least
        if (most or least) > _TIMES or (most is not None and most < least):
            self._refuse(at, f"count up, to at most {_TIMES:,}")
        self._out[-1] += f"{{{least},{'' if most is None else most}}}"

    def _part(self, kind: str, said: str, at: int) -> str:
        if kind == "any":
            return _ANY
        if kind == "name":
            return self._name(said)
        chars = self._chars(said, at)
        if kind == "text":
            parts = [json.dumps(char, ensure_ascii=False) for char, _ in chars]
            return f"({' '.join(parts)})" if len(parts) > 1 else parts[0] if parts else _NOTHING
        return self._set(chars, at)

    def _set(self, chars: list[tuple[str, bool]], at: int) -> str:
        """A set of characters, as an expression."""
        inverted = chars[:1] == [("^", False)]
        ranges: list[str] = []
        i = int(inverted)
        while i < len(chars):
            low = high = chars[i][0]
            i += 1
            if chars[i : i + 1] == [("-", False)] and i + 1 < len(chars):
                high = chars[i + 1][0]
                i += 2
            if high < low:
                self._refuse(at, "let a range of characters go up")
            ranges.append(
                rf"\x{{{ord(low):x}}}" if low == high else rf"\x{{{ord(low):x}}}-\x{{{ord(high):x}}}"
            )
        if not ranges:
            if inverted:
                return _ANY
            self._refuse(at, "put a character into the set")
        return f"/[{'^' * inverted}{''.join(ranges)}]/"

    def _chars(self, said: str, at: int) -> list[tuple[str, bool]]:
        """The characters that a text or a set spells, each with whether it was escaped."""
        found: list[tuple[str, bool]] = []
        i = 0
        while i < len(said):
            spelled = _CHAR.match(said, i)
            code = 0 if spelled is None else int(spelled[1] or spelled[2] or spelled[3] or "1", 16)
            if spelled is None or code >= 0x110000 or 0xD800 <= code < 0xE000:
                self._refuse(at, r"escape with \n, \r, \t, \\, \", \[, \], \x41, \u0041 or \U00000041")
            i = spelled.end()
            if spelled[4] or spelled[5]:
                found.append((spelled[5] or _ESCAPED.get(spelled[4], spelled[4]), bool(spelled[4])))
            else:
                found.append((chr(code), True))
        return found

    def _refuse(self, at: int, remedy: str) -> NoReturn:
        line = self._text.count("\n", 0, at) + 1
        refuse_grammar(self._field, self._text[at : at + 60], f"{remedy} (line {line} of the GBNF)")
