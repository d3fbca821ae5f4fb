"""Tool calls of every kind of spelling are read as they were written, wherever their text is cut."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_spellings import CALLS, SPELLINGS, TOOLS

from poolinfer._data.results import ToolCallDelta
from poolinfer._engine.text.parameter_types import ParameterTypes
from poolinfer._engine.text.section_reader import SectionReader
from poolinfer._engine.text.tool_format import HERMES, ToolFormat
from poolinfer._engine.text.tool_writer import Call, written_calls
from poolinfer._engine.text.whole_answer import read_calls

TYPES = ParameterTypes(TOOLS)


def joined(deltas: Sequence[ToolCallDelta]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call."""
    calls: dict[int, tuple[str, str, str]] = {}
    for delta in deltas:
        number, name, arguments = calls.get(delta.index, ("", "", ""))
        calls[delta.index] = (number + delta.id, name + delta.name, arguments + delta.arguments)
    assert list(calls) == list(range(len(calls)))
    return list(calls.values())


def read(spelled: ToolFormat, opened: str, *pieces: str) -> tuple[SectionReader, list[tuple[str, str, str]]]:
    """A reader that was given all pieces, and the calls."""
    reader = SectionReader(spelled, opened, TYPES)
    deltas: list[ToolCallDelta] = []
    for piece in pieces:
        if not reader.ended:
            deltas += reader.feed(piece)
    return reader, joined(deltas + reader.finish())


def section(spelled: ToolFormat, calls: Sequence[Call]) -> tuple[str, str]:
    """A section's opening and the rest of it."""
    text = written_calls(spelled, calls)
    opened = next(text[: text.find(one) + len(one)] for one in spelled.opens if one in text)
    return opened.lstrip("\n"), text[len(opened) :] + " and more"


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("label", CALLS)
def test_what_is_written_is_read_however_it_is_cut(name: str, label: str) -> None:
    spelled = SPELLINGS[name]
    calls = CALLS[label] if spelled.several else CALLS[label][:1]
    opened, text = section(spelled, calls)
    whole, found = read(spelled, opened, text)
    if spelled.section_close or len(calls) == 1:
        assert [(tool, json.loads(arguments)) for _, tool, arguments in found] == [call[:2] for call in calls]
        assert whole.rest == " and more"
        assert not whole.failed
    for cut in range(len(text)):
        reader, same = read(spelled, opened, text[:cut], text[cut:])
        assert (same, reader.failed) == (found, whole.failed), cut
    assert read(spelled, opened, *text)[1] == found
    everything = read_calls(spelled, written_calls(spelled, calls).removeprefix(spelled.begun), TYPES)
    assert [(call.name, json.loads(call.arguments)) for call in everything] == [call[:2] for call in calls]


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="'\\"), max_size=12)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "city": TEXTS.filter(lambda text: "<" not in text and "~" not in text and text == text.strip("\n")),
        "days": st.integers(-(10**6), 10**6),
        "fine": st.booleans(),
        "tags": st.lists(st.text("abc é", min_size=1, max_size=4), min_size=1, max_size=3),
    },
)


@given(VALUES, st.sampled_from(sorted(SPELLINGS)), st.data())
def test_any_arguments_come_back(arguments: dict[str, Any], name: str, data: st.DataObject) -> None:
    spelled = SPELLINGS[name]
    opened, text = section(spelled, [("get_weather", arguments, "abcdefgh1")])
    cut = data.draw(st.integers(0, len(text)))
    reader, found = read(spelled, opened, text[:cut], text[cut:])
    assert [(tool, json.loads(given)) for _, tool, given in found] == [("get_weather", arguments)]
    # What is cut off behind the section is not fed.
    assert reader.rest in " and more"


def test_a_call_comes_in_parts_as_soon_as_they_are_sure() -> None:
    reader = SectionReader(HERMES, "<tool_call>", TYPES)
    assert reader.feed('\n{"name": "get_weather"') == []
    assert reader.feed(', "arguments": {"ci') == [ToolCallDelta(0, "", "get_weather", '{"ci')]
    assert reader.feed('ty": "Par') == [ToolCallDelta(0, arguments='ty": "Par')]
    assert reader.feed('is"}}\n</tool_call>') == [ToolCallDelta(0, arguments='is"}')]
    assert reader.finish() == []
    assert reader.ended


def test_ids_are_read_where_the_format_says_them() -> None:
    for name, wanted in [
        ("array with ids", "abcdefgh1"),
        ("array with ids first", "abcdefgh1"),
        ("named with id before", "abcdefgh1"),
        ("named with id after", "abcdefgh1"),
        ("named with id within", "functions.get_weather:0"),
        ("tagged with numbers", ""),
        ("object", ""),
    ]:
        opened, text = section(SPELLINGS[name], CALLS["plain"])
        assert [call[0] for call in read(SPELLINGS[name], opened, text)[1]] == [wanted], name


@pytest.mark.parametrize(
    "text",
    [
        "no call</tool_call>",
        '{"name": "bad name", "arguments": {}}',
        '{"name": "", "arguments": {}}',
        '{"arguments": {}}',
        '{"name": "f", "name": "g", "arguments": {}}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "argum',
        "[" * 100_000,
        '{"x": ' * 100_000,
        '{"name": "\\ud800"}',
    ],
)
def test_what_is_no_call_is_given_back(text: str) -> None:
    reader, found = read(HERMES, "<tool_call>", text)
    assert found == []
    assert reader.failed
    assert reader.rest == text


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"a": NaN}}', '{"a": '),
        ('{"a": 1e999}}', '{"a": '),
        ('{"a": {"b"}}}', '{"a": {"b"'),
        ('{"a": ' * 100_000, '{"a": ' * 32),
        ('{"a": "Par', '{"a": "Par'),
    ],
)
def test_a_call_that_breaks_off_stays_one_with_arguments_that_nobody_takes_for_whole(
    text: str, arguments: str
) -> None:
    reader, found = read(HERMES, "<tool_call>", '{"name": "f", "arguments": ' + text)
    assert found == [("", "f", arguments)]
    assert reader.failed
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(arguments)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"a": "\\ud83d\\ude00 \\ud800 \\u00e9"}', '{"a": "😀 \ufffd é"}'),
        ("{'a': 'it\\'s', \"b\": True, 'c': None}", '{"a": "it\'s", "b": true, "c": null}'),
        ('{"a": 1, "a": 2,}', '{"a": 1, "a": 2}'),
        ('{"a": "two\nlines"}', '{"a": "two\\nlines"}'),
        ('"{\\"a\\": 1}"', '{"a": 1}'),
        ("null", "{}"),
        ('{"a":{}, "b" :[ ]}', '{"a": {}, "b": []}'),
    ],
)
def test_arguments_become_plain_json(written: str, meant: str) -> None:
    text = f'{{"arguments": {written}, "name": "f"}}'
    assert read(HERMES, "<tool_call>", *text)[1] == [("", "f", meant)]
    json.loads(meant)


def test_the_types_of_tagged_arguments_are_those_of_the_tool() -> None:
    text = "\n<fn={}>\n<arg={}>\n{}\n</arg>\n</fn>\n</call>"
    for tool, key, value, meant in [
        ("get_weather", "city", "77", '"77"'),
        ("get_weather", "days", "77", "77"),
        ("get_weather", "days", "many", '"many"'),
        ("get_weather", "fine", "True", "true"),
        ("unknown", "x", "77", "77"),
        ("unknown", "x", "a b", '"a b"'),
        ("unknown", "x", '"a"', '"\\"a\\""'),
    ]:
        found = read(SPELLINGS["tagged"], "<call>", text.format(tool, key, value))[1]
        assert found == [("", tool, f'{{"{key}": {meant}}}')], (tool, value)


def test_what_follows_a_name_for_the_answer_is_no_call() -> None:
    reader, found = read(SPELLINGS["named to a recipient"], ">>>", "all\nHello")
    assert (found, reader.failed, reader.rest) == ([], False, "Hello")


def test_an_object_that_is_an_answer_is_no_call() -> None:
    reader, found = read(SPELLINGS["bare object"], "{", '"city": "Rome"}')
    assert (found, reader.failed) == ([], True)
    assert read(SPELLINGS["bare object"], "{", '"name": "Rome", "parameters": {}}')[1] == []


def test_long_sections_take_time_in_proportion_to_their_length() -> None:
    def seconds(size: int) -> float:
        text = '{"name": "f", "arguments": {"a": "' + "x'\\n " * size + '"}' + " " * size + "}"
        reader = SectionReader(HERMES, "<tool_call>", TYPES)
        began = time.process_time()
        for char in text:
            reader.feed(char)
        reader.finish()
        assert reader.ended
        return time.process_time() - began

    assert seconds(40_000) < 20 * max(seconds(4_000), 0.005)
