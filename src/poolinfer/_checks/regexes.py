"""Regular expressions, as far as they are checked before an engine sees them: how deep and how long they are."""

from __future__ import annotations

import re

from .limits import LIMITS
from .refusals import refuse_grammar

_DEPTH, _LENGTH = int(LIMITS["groups"].high), int(LIMITS["regex_length"].high)
_OPTIONAL = int(LIMITS["optional_items"].high)
#: What says that an item may be left out, wherever it stands: too many are counted, rather than too few.
_LEFT_OUT = re.compile(r"[?*]|\{0*,|\(\||\|[|)]")
_COUNTED = re.compile(r"\{(\d*)(,?)(\d*)\}")
_MOST_DIGITS = 9


def check_optional(field: str, text: str) -> None:
    """Refuse an expression, or a grammar, in which too much may be left out.

    Compiling ``a?a?a?...`` takes an engine time and memory with the square of its length, and cannot be stopped.

    Raises:
        InvalidGrammar: more items may be left out than `LIMITS` says.
    """
    if len(text) > _OPTIONAL and sum(1 for _ in _LEFT_OUT.finditer(text)) > _OPTIONAL:
        refuse_grammar(field, text, f"use at most {_OPTIONAL:,} of ?, * and other items that may be left out")


def check_regex(field: str, text: str) -> None:
    """Refuse an expression that costs too much to compile.

    It is nested too deeply, counts to a text which no context holds, or may leave too many items out.

    ``(a{1000}){1000}`` is short and costs an engine a second. All else about an expression, its syntax above all,
    the engine checks.

    Raises:
        InvalidGrammar: the expression is one of these.
    """
    check_optional(field, text)
    if "{" not in text and text.count("(") <= _DEPTH:
        return
    # Of each open group, and of the whole: its characters so far, those of the last item, and those of the longest
    # alternative that has ended.
    groups: list[list[int]] = [[0, 0, 0]]
    i = 0
    while i < len(text):
        group, char = groups[-1], text[i]
        i += 1
        if char == "(":
            groups.append([0, 0, 0])
            if len(groups) - 1 > _DEPTH:
                refuse_grammar(field, text, f"nest at most {_DEPTH} groups")
            continue
        if char == ")":
            if len(groups) > 1:
                _, _, longest = _ended(groups.pop())
                _add(groups[-1], longest)
            continue
        if char == "|":
            _ended(group)
            continue
        if char == "{" and (found := _COUNTED.match(text, i - 1)) and (found[1] or found[3]):
            i = found.end()
            digits = found[3] or found[1]
            times = int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS
            group[0] += group[1] * (max(1, times) - 1)
            group[1] *= max(1, times)
        elif char not in "*+?":
            if char == "\\":
                i += 1
            elif char == "[":
                i = _end_of_class(text, i)
            _add(group, 1)
        if group[0] > _LENGTH:
            refuse_grammar(
                field, text, f"count to at most {_LENGTH:,} characters, since no context holds more"
            )


def _add(group: list[int], length: int) -> None:
    group[0] += length
    group[1] = length


def _ended(group: list[int]) -> list[int]:
    """End the alternative of a group."""
    group[:] = [0, 0, max(group[0], group[2])]
    return group


def _end_of_class(text: str, i: int) -> int:
    """Where a class of characters ends, of which the text before `i` is the opening bracket."""
    # A bracket that comes first is a member. Classes nest.
    depth = 1
    if text.startswith("^", i):
        i += 1
    if text.startswith("]", i):
        i += 1
    while i < len(text) and depth:
        char = text[i]
        i += 2 if char == "\\" else 1
        depth += (char == "[") - (char == "]")
    return i
