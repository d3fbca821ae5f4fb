"""What a function's docstring says of the function and of its parameters, in Google's, Sphinx' or NumPy's style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

# "Args:" of Google's style, "Parameters" over dashes of NumPy's.
_ARGUMENTS = re.compile(r"(Args|Arguments|Parameters):?")
_SECTION = re.compile(r"[A-Z][A-Za-z ]{2,30}:")
_GOOGLE = re.compile(r"\*{0,2}(\w+)(?: ?\([^)]*\))?:(?: (.*))?")
_NUMPY = re.compile(r"\*{0,2}(\w+)(?: ?: .*)?")
_SPHINX = re.compile(r":param (?:[^:]*\s)?\*{0,2}(\w+):(?: (.*))?")
_OTHER_FIELD = re.compile(r":\w+[^:]*:")


class FunctionText(NamedTuple):
    """What a docstring says.

    Attributes:
        summary: what stands before the parameters, without empty lines at its ends.
        parameters: the description of each parameter that has one.
    """

    summary: str
    parameters: dict[str, str]


def described(function: Callable[..., Any]) -> FunctionText:
    """What the docstring of a function says; empty where there is none."""
    lines = (inspect.getdoc(function) or "").splitlines()
    found: dict[str, str] = {}
    summary: list[str] = []
    i = 0
    while i < len(lines):
        if _ARGUMENTS.fullmatch(lines[i]):
            i = _read_section(lines, i + 1, found)
        elif match := _SPHINX.fullmatch(lines[i].strip()):
            i = _read_item(lines, i, match, found)
        elif _is_other_section(lines, i):
            break
        else:
            summary.append(lines[i])
            i += 1
    return FunctionText("\n".join(summary).strip(), found)


def _is_other_section(lines: list[str], i: int) -> bool:
    """Whether something else than the summary begins here: "Returns:", "Raises:", ":return:"."""
    below = lines[i + 1].strip() if i + 1 < len(lines) else ""
    underlined = bool(below) and not below.strip("-") and bool(lines[i].strip())
    return bool(_SECTION.fullmatch(lines[i]) or _OTHER_FIELD.match(lines[i])) or underlined


def _read_section(lines: list[str], i: int, found: dict[str, str]) -> int:
    """Read the parameters from line `i` on; returns the line after them."""
    numpy = i < len(lines) and bool(lines[i].strip()) and not lines[i].strip().strip("-")
    i += numpy
    margin: int | None = 0 if numpy else None
    while i < len(lines):
        line = lines[i]
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            i += 1
            continue
        margin = indent if margin is None else margin
        match = (_NUMPY if numpy else _GOOGLE).fullmatch(line.strip())
        ended = indent == 0 and (not numpy or _is_other_section(lines, i))
        if ended or indent != margin or match is None:
            return i
        i = _read_item(lines, i, match, found)
    return i


def _read_item(lines: list[str], i: int, match: re.Match[str], found: dict[str, str]) -> int:
    """Read one parameter, whose text may go on in lines that are indented deeper; returns the line after it."""
    name, first = match.group(1), (match.group(2) if match.re.groups > 1 else None) or ""
    margin = len(lines[i]) - len(lines[i].lstrip())
    texts = [first.strip()]
    i += 1
    while i < len(lines) and (len(lines[i]) - len(lines[i].lstrip()) > margin):
        texts.append(lines[i].strip())
        i += 1
    text = " ".join(filter(None, texts))
    if text:
        found[name] = text
    return i
