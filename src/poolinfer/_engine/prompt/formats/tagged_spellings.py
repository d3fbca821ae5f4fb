"""Learning spellings in which arguments stand one by one: between marks, or in Python's syntax."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise

from ...text.json_types import json_type
from ...text.tool_format import ToolFormat
from .call_spellings import in_brackets, surroundings
from .marks import common_beginning, common_end
from .sample_calls import KEY, NAME, NUMBER, OTHER_KEY, OTHER_NAME, TYPED, VALUE, SampleCall, Samples

_COUNT = re.compile(r"[01]")


def learn_pythonic(samples: Samples, one: str, two: str | None) -> ToolFormat | None:
    """The format of calls in Python's syntax."""
    before, rest = samples.opening(one), one[one.find(NAME) + len(NAME) :]
    if not (before.endswith("[") and rest.startswith(f"({KEY}=")):
        return None
    after = samples.ending(rest[rest.find(")") + 1 :])
    if not after.startswith("]"):
        return None
    around = in_brackets(before[:-1], after[1:], several=two is not None)
    quote = rest.partition(VALUE)[0][-1:]
    return ToolFormat(
        kind="pythonic",
        at_start=not before[:-1].strip(),
        **around,
        quote=quote,
        python_values=_python_values(samples),
    )


def learn_tagged(samples: Samples, one: str, two: str | None) -> ToolFormat | None:
    """The format of calls whose arguments stand between marks."""
    places = _places(one, NAME, KEY, VALUE, OTHER_KEY, str(NUMBER))
    if places is None:
        return None
    to_key, to_value, to_other, to_number = (one[a:b] for (_, a), (b, _) in pairwise(places))
    end = places[-1][1]
    rest = samples.ending(one[end:])
    value_close = common_beginning(to_other, rest)
    key_open = common_end(to_key, to_other[len(value_close) :])
    if not key_open.strip() or not value_close.strip():
        return None
    between = None
    if two is not None and two.startswith(one[:end]):
        between = two[end + len(value_close) : two.find(OTHER_NAME)]
    after = rest[len(value_close) :]
    found = ToolFormat(
        kind="tagged",
        **surroundings(samples.opening(one), between, after),
        name_closes=(to_key.removesuffix(key_open),),
        key_open=key_open,
        key_close=to_value,
        value_close=value_close,
        python_values=_python_values(samples),
    )
    if to_value != to_number:
        found = replace(found, key_closes=_key_closes(samples, found, to_number))
    numbered = _numbered(found, two)
    return numbered or replace(found, no_arguments=_no_arguments(samples, after))


def _places(text: str, *wanted: str) -> list[tuple[int, int]] | None:
    """Where some texts stand, one after the other."""
    found, end = [], 0
    for one in wanted:
        start = text.find(one, end)
        if start < 0:
            return None
        end = start + len(one)
        found.append((start, end))
    return found


def _python_values(samples: Samples) -> bool:
    return "True" in (samples.turn("", SampleCall(arguments=TYPED)) or "")


def _key_closes(samples: Samples, form: ToolFormat, number: str) -> tuple[tuple[str, str], ...]:
    """What stands between keys and values of each type that is no string."""
    found = {"number": number}
    text = samples.turn("", SampleCall(arguments=TYPED)) or ""
    keys = list(TYPED)
    for key, following in pairwise(keys):
        places = _places(text, NAME, form.key_open + key, following)
        if places is None:
            continue
        segment = text[places[1][1] : places[2][0]].removesuffix(form.value_close + form.key_open)
        for spelled in (
            json.dumps(TYPED[key]),
            json.dumps(TYPED[key], separators=(",", ":")),
            str(TYPED[key]),
        ):
            if segment.endswith(spelled):
                found.setdefault(json_type(TYPED[key]), segment.removesuffix(spelled))
    return tuple(found.items())


def _numbered(form: ToolFormat, two: str | None) -> ToolFormat | None:
    """The format, if it counts the calls of an answer after their names."""
    first = _COUNT.search(form.name_closes[0])
    if first is None or two is None:
        return None
    rest = two[two.find(OTHER_NAME) + len(OTHER_NAME) :]
    mark, close = form.name_closes[0][: first.start()], form.name_closes[0][first.end() :]
    number = int(first.group())
    if not rest.startswith(f"{mark}{number + 1}{close}"):
        return None
    return replace(form, id_place="after", id_mark=mark, name_closes=(close,), first_number=number)


def _no_arguments(samples: Samples, after: str) -> str:
    """What stands after the name of a call without arguments, up to what closes the call."""
    text = samples.turn("", SampleCall(arguments={})) or ""
    rest = samples.ending(text[text.find(NAME) + len(NAME) :])
    return rest.removesuffix(after) if NAME in text and rest.endswith(after) else ""
