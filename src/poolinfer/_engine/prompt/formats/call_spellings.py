"""Learning spellings whose arguments are an object: calls that are objects, and names with an object after them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeAlias, TypedDict

from ...text.tool_format import IdPlace, ToolFormat
from .marks import as_many_tags, common_beginning, common_end, opening, openings
from .sample_calls import ARGUMENTS, ID, NAME, OTHER, OTHER_ID, OTHER_NAME, Samples

#: Most places of a rendering at which an object is looked for.
_MAX_PLACES = 256
#: Stands for a call's id in texts that are compared.
_AN_ID = "\0"
_DECODER = json.JSONDecoder()
_BEGINNING = re.compile(r"[{\[]")
_NUMBER = re.compile(r":[0-9]+")
_PREFIX = re.compile(r"[A-Za-z_]+\.\Z")

#: A value, and where it begins and ends.
_Found: TypeAlias = tuple[Any, int, int]


class _Keys(TypedDict):
    """The keys of a call that is an object; fields of `ToolFormat`."""

    name_key: str
    arguments_key: str
    id_place: IdPlace
    id_key: str
    id_last: bool


class Surroundings(TypedDict):
    """What stands around calls; fields of `ToolFormat`."""

    opens: tuple[str, ...]
    section_open: str
    section_close: str
    call_open: str
    call_close: str
    separator: str
    several: bool


def surroundings(before: str, between: str | None, after: str) -> Surroundings:
    """What stands around calls.

    Args:
        before: what stands before a turn's first call.
        between: what stands between two calls; None where a turn has one call only.
        after: what stands after the last call.
    """
    if between is None:
        call_open, call_close, separator = before, after, ""
        section_open = section_close = ""
    else:
        call_close = common_beginning(between, after)
        between, section_close = between[len(call_close) :], after[len(call_close) :]
        call_open = common_end(before, between)
        separator, section_open = between.removesuffix(call_open), before.removesuffix(call_open)
        if not (section_open.strip() and section_close.strip()):
            # What only seems to end a section ends the turn.
            section_close = ""
        section_close = as_many_tags(section_close, section_open)
    return Surroundings(
        opens=openings(section_open, call_open),
        section_open=section_open,
        section_close=section_close,
        call_open=call_open,
        call_close=call_close,
        separator=separator,
        several=between is not None,
    )


def in_brackets(before: str, after: str, *, several: bool) -> Surroundings:
    """What stands around calls that stand between brackets, with commas between them."""
    return Surroundings(
        opens=openings(before, ""),
        section_open=before,
        section_close=after,
        call_open="",
        call_close="",
        separator=", ",
        several=several,
    )


def learn_objects(samples: Samples, one: str, two: str | None) -> ToolFormat | None:
    """The format of calls that are objects, or stand in an array of objects."""
    name = one.find(NAME)
    found = _find(one, 0, name, lambda value: _keys(value) is not None)
    keys = _keys(found[0]) if found else None
    if found is None or keys is None:
        return None
    value, start, end = found
    before, after = samples.opening(one).removesuffix(one[start:name]), samples.ending(one[end:])
    if isinstance(value, list):
        around = in_brackets(before, after, several=two is not None)
        around["opens"] = (_array_opening(before),)
        return ToolFormat(kind="array", at_start=not before.strip(), **around, **keys)
    between = None
    if two is not None and two.startswith(one[:end]):
        other = _find(two, end, two.find(OTHER_NAME), lambda value: isinstance(value, dict))
        between = two[end : other[1]] if other else None
    around = surroundings(before, between, after)
    if not before.strip():
        around["opens"] = ("{",)
    return ToolFormat(kind="object", at_start=not before.strip(), **around, **keys)


def learn_named(samples: Samples, one: str, two: str | None) -> ToolFormat | None:
    """The format of calls that are a name and then an object of arguments."""
    name = one.find(NAME)
    found = _find(one, name, len(one), lambda value: value == ARGUMENTS)
    if found is None:
        return None
    _, start, end = found
    middle = one[name + len(NAME) : start].replace(ID, _AN_ID)
    between = other_middle = None
    after = one[end:]
    if two is not None and two.startswith(one[:end]):
        place = two.find(OTHER_NAME, end)
        between = two[end:place].replace(OTHER_ID, _AN_ID)
        other_middle = two[place + len(OTHER_NAME) :].partition("{")[0]
        other = _find(two, place, len(two), lambda value: value == OTHER.arguments)
        after = two[other[2] :] if other else after
    before = samples.opening(one).replace(ID, _AN_ID)
    around = surroundings(before, between, samples.ending(after))
    return _with_id(around, middle, other_middle)


def _with_id(around: Surroundings, middle: str, other_middle: str | None) -> ToolFormat:
    """The format of calls that may have an id beside the name.

    Args:
        around: what stands around the calls.
        middle: what stands between the name of a turn's first call and its arguments.
        other_middle: the same for the second call, if there is one.
    """
    if _AN_ID in around["call_open"]:
        call_open, _, mark = around["call_open"].rpartition(_AN_ID)
        around["call_open"] = call_open
        return ToolFormat(kind="named", **around, id_place="before", id_mark=mark, name_closes=(middle,))
    if _AN_ID in middle:
        mark, _, close = middle.partition(_AN_ID)
        return ToolFormat(kind="named", **around, id_place="after", id_mark=mark, name_closes=(close,))
    number, other_number = _NUMBER.match(middle), _NUMBER.match(other_middle or "")
    if number and other_number and number.group() != other_number.group():
        prefix = _PREFIX.search(around["call_open"])
        around["call_open"] = around["call_open"][: prefix.start() if prefix else None]
        around["opens"] = openings(around["section_open"], around["call_open"])
        return ToolFormat(
            kind="named",
            **around,
            id_place="within",
            id_mark=":",
            id_prefix=prefix.group() if prefix else "",
            name_closes=(middle[number.end() :],),
        )
    return ToolFormat(kind="named", **around, name_closes=(middle,))


def _keys(value: object) -> _Keys | None:
    """The keys of a call that is an object, or the first of an array; None if the value is no call."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    arguments = next((key for key, part in value.items() if _are_arguments(part)), None)
    if arguments == NAME:
        return _Keys(name_key="", arguments_key="", id_place="none", id_key="", id_last=False)
    name = next((key for key, part in value.items() if part == NAME), None)
    if name is None or arguments is None:
        return None
    order = list(value)
    number = next((key for key, part in value.items() if part == ID or (key != name and "id" in key)), "")
    return _Keys(
        name_key=name,
        arguments_key=arguments,
        id_place="key" if number else "none",
        id_key=number,
        id_last=bool(number) and order.index(number) > order.index(arguments),
    )


def _are_arguments(value: object) -> bool:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return value == ARGUMENTS


def _find(text: str, start: int, stop: int, wanted: Callable[[Any], bool]) -> _Found | None:
    """The first wanted value that begins in a part of a text."""
    for place in islice(_BEGINNING.finditer(text, start, max(start, stop)), _MAX_PLACES):
        try:
            value, end = _DECODER.raw_decode(text, place.start())
        except (ValueError, RecursionError):
            continue
        if wanted(value):
            return value, place.start(), end
    return None


def _array_opening(before: str) -> str:
    """The part of an array's beginning that is looked for; a word alone is too common."""
    return before.strip() + "[" if before[-1:].isalnum() else opening(before)
