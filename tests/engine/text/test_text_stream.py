"""What a caller sees of a generation: characters, stop strings, reasoning, tool calls."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolinfer._data.results import Chunk, ToolCall
from poolinfer._engine.text.answer_splitter import AnswerSplitter
from poolinfer._engine.text.call_ids import CallIds
from poolinfer._engine.text.finder import Automaton, Finder
from poolinfer._engine.text.formats import Formats
from poolinfer._engine.text.parameter_types import ParameterTypes
from poolinfer._engine.text.text_stream import TextStream


def splitter(*, reasoning_open: bool = False, tools: bool = False, nonce: bytes = b"") -> AnswerSplitter:
    formats = Formats() if tools else Formats(tools=None)
    return AnswerSplitter(formats, CallIds(nonce), ParameterTypes(), reasoning_open=reasoning_open)


@dataclass
class Shown:
    """A stream after its end, with all it showed."""

    stream: TextStream
    chunks: list[Chunk]

    @property
    def fields(self) -> tuple[str, str, str]:
        return self.stream.text, self.stream.answer, self.stream.reasoning


def show(
    pieces: Sequence[bytes],
    stops: Sequence[str] = (),
    *,
    split: bool = False,
    reasoning_open: bool = False,
    tools: bool = False,
) -> Shown:
    stream = TextStream(stops, splitter(reasoning_open=reasoning_open, tools=tools) if split else None)
    chunks = []
    for piece in pieces:
        if stream.stopped:
            break
        chunks.append(stream.feed(piece))
    chunks.append(stream.finish())
    return Shown(stream, [chunk for chunk in chunks if chunk is not None])


def show_text(text: str, stops: Sequence[str] = (), **options: bool) -> Shown:
    """Character by character, the hardest cut."""
    return show([char.encode() for char in text], stops, **options)


def cut_up(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def stopped_at(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Reference: the text before the stop that starts first."""
    starts = [text.index(stop) for stop in stops if stop in text]
    return (text[: min(starts)], True) if starts else (text, False)


def parted(text: str, *, reasoning_open: bool, tools: bool) -> tuple[str, str, list[tuple[str, str]]]:
    """Reference: answer, reasoning and tool calls of a whole text.

    Only whole good blocks are calls, as no other fragment holds JSON.
    """
    answer, reasoning, calls, inside = "", "", [], reasoning_open
    if reasoning_open and text.lstrip().startswith("<think>"):
        text = text.lstrip().removeprefix("<think>")
    while True:
        if inside or text.lstrip().startswith("<think>"):
            text = text if inside else text.lstrip().removeprefix("<think>")
            if tools and "</think>" not in text and (ends := CALLS_AT_END.search(text)):
                # A model may forget to end its reasoning before it calls tools.
                calls += [("f", '{"a": "é"}')] * ends.group().count(GOOD)
                return answer, reasoning + text[: ends.start()].strip(), calls
            block, inside, (_, _, text) = text.partition("</think>")[0], False, text.partition("</think>")
            reasoning, text = reasoning + block.strip(), text.lstrip()
        elif text.lstrip().startswith("</think>"):
            text = text.lstrip().removeprefix("</think>").lstrip()
        elif tools and GOOD in text:
            before, _, text = text.partition(GOOD)
            answer, text = (answer + before).rstrip(), text.lstrip()
            calls.append(("f", '{"a": "é"}'))
        else:
            return answer + text, reasoning, calls


def assert_joined(shown: Shown) -> None:
    assert "".join(chunk.text for chunk in shown.chunks) == shown.stream.text
    assert "".join(chunk.answer for chunk in shown.chunks) == shown.stream.answer
    assert "".join(chunk.reasoning for chunk in shown.chunks) == shown.stream.reasoning
    assert joined_calls(shown.chunks) == list(shown.stream.tool_calls)


def joined_calls(chunks: Sequence[Chunk]) -> list[ToolCall]:
    """The tool calls that the parts in these chunks make."""
    found: list[ToolCall] = []
    for delta in (delta for chunk in chunks for delta in chunk.tool_calls):
        if delta.index == len(found):
            found.append(ToolCall(delta.id, delta.name, delta.arguments))
        else:
            call = found[delta.index]
            assert (delta.id, delta.name) == ("", "")
            found[delta.index] = ToolCall(call.id, call.name, call.arguments + delta.arguments)
    return found


GOOD = '<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>'
CALLS_AT_END = re.compile(rf"(?:\s*{re.escape(GOOD)})+\s*\Z")
TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", GOOD]
FRAGMENTS = st.sampled_from([*TAGS, "<", "</th", "<tool", ">", " ", "\n", "a", "b", "é", "🙂"])
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join)
PLACES = st.lists(st.integers(0, 10_000), max_size=60)
STOPS = st.lists(st.text("ab<é", min_size=1, max_size=5), max_size=4)


# --- characters ---------------------------------------------------------------------------------


def test_F42_a_character_cut_across_tokens_is_held_back() -> None:
    stream = TextStream([])
    smile = "🙂".encode()
    assert [stream.feed(smile[i : i + 1]) for i in range(3)] == [None] * 3
    assert stream.feed(smile[3:]) == Chunk(text="🙂", answer="🙂")


def test_F42_an_incomplete_tail_becomes_a_replacement_mark() -> None:
    assert show(["🙂".encode()[:3]]).fields == ("\ufffd", "\ufffd", "")


def test_F42_a_byte_order_mark_and_nul_are_text() -> None:
    assert show_text("\ufeffa\0b").stream.text == "\ufeffa\0b"


@given(st.binary(max_size=60), PLACES)
def test_F42_any_bytes_cut_anywhere_are_valid_text(data: bytes, places: list[int]) -> None:
    shown = show(cut_up(data, places))
    assert shown.stream.text == data.decode(errors="replace")
    assert_joined(shown)
    for chunk in shown.chunks:
        chunk.text.encode()


@given(st.text(max_size=60), PLACES)
def test_F42_without_split_the_answer_is_the_text(text: str, places: list[int]) -> None:
    assert show(cut_up(text.encode(), places)).fields == (text, text, "")


def test_nothing_new_is_no_chunk() -> None:
    stream = TextStream([], splitter())
    assert stream.feed(b"") is None
    assert stream.finish() is None


# --- stop strings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one END two", ["END"], "one "),
        ("xabcdy", ["abcd", "bc"], "x"),  # the earlier start wins, although "bc" completes first
        ("xabcey", ["abcd", "bc"], "xa"),
        ("abc", ["abcd", "bc"], "a"),  # decided at the end
        ("aab", ["ab"], "a"),
        ("abcd", ["abc", "ab"], ""),
        ("aaab", ["aab"], "a"),
        ("caf", ["fé"], "caf"),
    ],
)
def test_F47_stop_strings(text: str, stops: list[str], shown: str) -> None:
    result = show_text(text, stops)
    assert result.stream.text == shown
    assert result.stream.stopped == (shown != text)


def test_F47_a_stop_that_begins_another_wins_at_once() -> None:
    stream = TextStream(["ab", "abc"])
    stream.feed(b"xab")
    assert stream.stopped
    assert stream.text == "x"


def test_F47_only_a_possible_beginning_is_held_back() -> None:
    stream = TextStream(["<end>"])
    assert stream.feed(b"a <en") == Chunk(text="a ", answer="a ")
    assert stream.feed(b"try") == Chunk(text="<entry", answer="<entry")


def test_F47_feeding_after_a_stop_is_an_error() -> None:
    stream = TextStream(["x"])
    stream.feed(b"x")
    with pytest.raises(RuntimeError, match="stop string"):
        stream.feed(b"y")


def test_F47_ten_thousand_stops() -> None:
    stops = [f"stop-{number}!" for number in range(10_000)]
    assert show_text("a stop-9999 stop-42! b", stops).stream.text == "a stop-9999 "


def test_F47_a_self_similar_stop_costs_linear_time() -> None:
    stop, started = "a" * 5_000 + "b", time.thread_time()
    shown = show([b"aaaa"] * 10_000, [stop])
    assert shown.stream.text == "a" * 40_000
    assert time.thread_time() - started < 5


@given(TEXTS | st.text("ab<é", max_size=30), STOPS, PLACES)
def test_F47_stops_work_across_every_cut(text: str, stops: list[str], places: list[int]) -> None:
    shown = show(cut_up(text.encode(), places), stops)
    assert (shown.stream.text, shown.stream.stopped) == stopped_at(text, stops)
    assert_joined(shown)


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_F47_what_is_held_back_could_begin_a_stop(text: str, stops: list[str]) -> None:
    finder = Finder(Automaton(stops))
    shown = finder.feed(text)
    before, found = stopped_at(text, stops)
    longest = max((n for stop in stops for n in range(len(stop)) if text.endswith(stop[:n])), default=0)
    if found:
        assert before.startswith(shown)
    else:
        assert shown == text[: len(text) - longest]


# --- reasoning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("<think>why</think>so", "so", "why"),
        (" \n<think>\n why \n\n</think>\n\nso \n", "so \n", "why"),
        ("<think>\n\n</think>\n\nso", "so", ""),
        ("<think>never ends </thin", "", "never ends </thin"),
        ("<think>never ends \n", "", "never ends"),
        ("<thin", "<thin", ""),
        ("  <thinking>", "  <thinking>", ""),
        ("so <think>plain</think>", "so <think>plain</think>", ""),
        ("<think>a</think>b <think>c</think>", "b <think>c</think>", "a"),
        (" \n ", " \n ", ""),
        ("", "", ""),
    ],
)
def test_reasoning_is_split_from_the_answer(text: str, answer: str, reasoning: str) -> None:
    assert show_text(text, split=True).fields == (text, answer, reasoning)


def test_reasoning_may_have_begun_in_the_prompt() -> None:
    text = "\nwhy\n</think>\n\nso"
    assert show_text(text, split=True, reasoning_open=True).fields == (text, "so", "why")


def test_text_does_not_wait_for_the_split() -> None:
    stream = TextStream([], splitter())
    assert stream.feed(b"<thi") == Chunk(text="<thi")
    assert stream.feed(b"nk>why </") == Chunk(text="nk>why </", reasoning="why")
    assert stream.feed(b"think> so") == Chunk(text="think> so", answer="so")


def test_a_stop_string_inside_reasoning_ends_the_text() -> None:
    shown = show_text("<think>why END", ["END"], split=True)
    assert shown.fields == ("<think>why ", "", "why")


@given(TEXTS, PLACES, st.booleans(), st.booleans())
def test_the_split_is_the_same_for_every_cut(
    text: str, places: list[int], reasoning_open: bool, tools: bool
) -> None:
    shown = show(cut_up(text.encode(), places), split=True, reasoning_open=reasoning_open, tools=tools)
    answer, reasoning, calls = parted(text, reasoning_open=reasoning_open, tools=tools)
    assert shown.fields == (text, answer, reasoning)
    assert [(call.name, call.arguments) for call in shown.stream.tool_calls] == calls
    assert_joined(shown)


# Without "é": a call that has begun remains one, though a stop text cuts it.
@given(TEXTS, PLACES, st.lists(st.text("ab<", min_size=1, max_size=5), max_size=4))
def test_stops_and_split_together(text: str, places: list[int], stops: list[str]) -> None:
    shown = show(cut_up(text.encode(), places), stops, split=True, tools=True)
    before, _ = stopped_at(text, stops)
    answer, reasoning, _ = parted(before, reasoning_open=False, tools=True)
    assert shown.fields == (before, answer, reasoning)
    assert_joined(shown)


# --- tool calls ---------------------------------------------------------------------------------


def test_tool_calls_leave_the_answer() -> None:
    text = f"<think>t</think>\n\nLet me see. \n{GOOD}\n{GOOD}\n"
    shown = show_text(text, split=True, tools=True)
    assert shown.fields == (text, "Let me see.", "t")
    arguments = '{"a": "é"}'
    found = [(call.name, call.arguments) for call in shown.stream.tool_calls]
    assert found == [("f", arguments)] * 2


def test_ids_of_tool_calls_restart_in_no_turn() -> None:
    turns = []
    for nonce in (b"one", b"another", b"one"):
        stream = TextStream([], splitter(tools=True, nonce=nonce))
        stream.feed((GOOD * 3).encode())
        turns.append(stream.tool_calls)
    ids = [call.id for calls in turns[:2] for call in calls]
    assert len(set(ids)) == 6
    assert all(re.fullmatch("call_[A-Za-z0-9]{24}", each) for each in ids)
    assert turns[2] == turns[0]


def test_without_tools_a_block_is_plain_text() -> None:
    shown = show_text(GOOD, split=True)
    assert shown.stream.answer == GOOD
    assert shown.stream.tool_calls == ()


@pytest.mark.parametrize(
    "text",
    [
        "a <tool_call>not json</tool_call> b",
        'a <tool_call>{"arguments": {}}</tool_call> b',
        'a <tool_call>{"name": "f", "arguments": 7}</tool_call> b',
        'a <tool_call>{"name": "", "arguments": {}}</tool_call> b',
        'a <tool_call>{"name": "f", "arg',
        "a <tool_c",
        "a <tool_call>[]</tool_call> \n",
    ],
)
def test_a_bad_block_is_not_lost(text: str) -> None:
    shown = show_text(text, split=True, tools=True)
    assert shown.stream.answer == text
    assert shown.stream.tool_calls == ()


def test_a_call_that_a_stop_text_cuts_remains_the_beginning_of_a_call() -> None:
    shown = show_text(f"Now. {GOOD}", ["é"], split=True, tools=True)
    assert shown.stream.answer == "Now."
    assert [(call.name, call.arguments) for call in shown.stream.tool_calls] == [("f", '{"a": "')]
    assert_joined(shown)
