"""What two texts have in common at their beginnings and ends, by whole marks."""

from __future__ import annotations

import re

#: A tag (``<tool_call>``, ``[TOOL_CALLS]``) or the beginning of one, whitespace, or other text.
_ATOM = re.compile(r"<[^<>\s]*>?|\[[^\[\]\s]*\]?|\s+|[^<\[\s]+")
_TAG = re.compile(r"<[^<>\s]*>|\[[A-Z_]+\]")


def common_beginning(one: str, other: str) -> str:
    """The longest beginning of two texts that cuts no mark."""
    return "".join(_common(_ATOM.findall(one), _ATOM.findall(other)))


def common_end(one: str, other: str) -> str:
    """The longest end of two texts that cuts no mark."""
    return "".join(reversed(_common(_ATOM.findall(one)[::-1], _ATOM.findall(other)[::-1])))


def _common(one: list[str], other: list[str]) -> list[str]:
    found = []
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        found.append(a)
    return found


def opening(text: str) -> str:
    """The part of a section's beginning that is looked for in an answer, from its first character on.

    It is the first tag, if that stands alone or other tags follow it. Otherwise it is all of the text, or all up to
    the first whitespace if a mark ends there.
    """
    text = text.strip()
    tag = _TAG.match(text)
    if tag and not text[tag.end() :].lstrip()[:1].isalpha():
        return tag.group()
    first = text.split(None, 1)[0] if text else ""
    return first if tag is None and first.endswith((">", "]")) else text


def as_many_tags(text: str, model: str) -> str:
    """The beginning of a text that has as many tags as another text; all of it, if that one has none."""
    ends = [match.end() for match in _TAG.finditer(text)]
    wanted = len(_TAG.findall(model))
    return text[: ends[wanted - 1]] if 0 < wanted < len(ends) else text


def openings(section_open: str, call_open: str) -> tuple[str, ...]:
    """The texts with which a section may begin: models may leave out what stands before the first call."""
    whole = section_open + call_open
    found = [opening(whole)]
    if section_open.strip() and call_open.strip():
        found.append(opening(call_open))
    elif (rest := whole.strip().removeprefix(found[0]).lstrip()).startswith("<"):
        found.append(opening(rest))
    return tuple(dict.fromkeys(found))
