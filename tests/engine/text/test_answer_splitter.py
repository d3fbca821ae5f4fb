"""Splitting by all kinds of formats: channels, sections, marks that are control tokens."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_spellings import SPELLINGS

from poolinfer._data.results import ToolCall
from poolinfer._engine.text import answer_splitter
from poolinfer._engine.text.answer_splitter import AnswerSplitter
from poolinfer._engine.text.call_ids import CallIds
from poolinfer._engine.text.formats import Formats, MarkedFormats, marked, without_marks
from poolinfer._engine.text.parameter_types import ParameterTypes
from poolinfer._engine.text.reasoning_format import ReasoningFormat
from poolinfer._engine.text.text_stream import TextStream
from poolinfer._engine.text.tool_format import HERMES, ToolFormat

CHANNELS = ReasoningFormat(
    opens=("<|chan|>inner<|say|>",),
    closes=("<|over|>",),
    closing="<|over|><|chan|>outer<|say|>",
    anywhere=True,
    skipped=("<|chan|>outer<|say|>", "<|over|>"),
)
ARRAY = ToolFormat(kind="array", opens=("[CALLS]",), section_open="[CALLS]", id_place="key", id_key="id")
SECTIONS = Formats(ARRAY, CHANNELS)


def read(text: str, formats: Formats, *sizes: int, single: bool = False, opened: bool = False) -> TextStream:
    """A stream that has read a text, cut in pieces of these sizes over and over, and given the same in all."""
    streams = []
    for size in sizes or (1, 2, 3, 5, 8, 1000):
        splitter = AnswerSplitter(
            formats, CallIds(b"n"), ParameterTypes(), reasoning_open=opened, single=single
        )
        stream = TextStream([], splitter)
        for start in range(0, len(text), size):
            if not stream.ended:
                stream.feed(text[start : start + size].encode())
        stream.finish()
        streams.append(stream)
    found = [(each.answer, each.reasoning, each.tool_calls) for each in streams]
    assert all(a == b for a, b in pairwise(found))
    return streams[-1]


def calls(stream: TextStream) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in stream.tool_calls]


def test_channels_of_reasoning_and_answer() -> None:
    text = "<|chan|>inner<|say|>why<|over|><|chan|>outer<|say|>so<|over|>"
    stream = read(text, SECTIONS)
    assert (stream.answer, stream.reasoning) == ("so", "why")


def test_several_blocks_of_reasoning_also_between_calls() -> None:
    call = '[CALLS][{"name": "f", "arguments": {}}]'
    stream = read(
        f"<|chan|>inner<|say|>one<|over|>{call}<|chan|>inner<|say|>, two<|over|>{call} so", SECTIONS
    )
    assert (stream.answer, stream.reasoning) == ("so", "one, two")
    assert calls(stream) == [("f", "{}")] * 2


def test_several_calls_in_a_section_and_several_sections() -> None:
    section = '[CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]'
    stream = read(f"See:\n{section}\n{section}", SECTIONS)
    assert stream.answer == "See:"
    assert calls(stream) == [("f", '{"a": 1}'), ("g", "{}")] * 2
    assert len({call.id for call in stream.tool_calls}) == 4


def test_one_call_ends_the_answer_where_calls_are_not_parallel() -> None:
    section = '[CALLS][{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}] more'
    stream = read(section, SECTIONS, single=True)
    assert stream.ended
    assert calls(stream) == [("f", '{"a": 1}')]


def test_ids_that_the_model_wrote_are_kept_only_if_unique() -> None:
    ids = CallIds(b"n", ["given"])
    kept = [ids.next(written) for written in ("mine", "mine", "given", "", "a\nb", "x" * 65)]
    assert kept[0] == "mine"
    assert all(each.startswith("call_") for each in kept[1:])
    assert len(set(kept)) == 6


def test_ids_are_short_where_the_template_takes_no_others() -> None:
    ids = CallIds(b"n", ["abc123DEF"], short=True)
    kept = [ids.next(written) for written in ("xyz456GHI", "xyz456GHI", "abc123DEF", "call_1", "")]
    assert kept[0] == "xyz456GHI"
    assert all(len(each) == 9 and each.isalnum() and each.isascii() for each in kept)
    assert len({*kept, "abc123DEF"}) == 6


@pytest.mark.parametrize("short", [False, True])
def test_a_new_id_is_none_that_an_earlier_turn_has(short: bool) -> None:
    taken = [CallIds(b"n", short=short).next()]
    again = CallIds(b"n", taken, short=short)
    assert len({*taken, again.next(), again.next()}) == 3


def test_the_prompt_may_have_begun_a_section_or_the_answer() -> None:
    functionary = Formats(SPELLINGS["named to a recipient"], None)
    stream = read('f\n{"a": 1}>>>g\n{}', functionary)
    assert (stream.answer, calls(stream)) == ("", [("f", '{"a": 1}'), ("g", "{}")])
    stream = read('all\nSee:\n>>>f\n{"a": 1}', functionary)
    assert (stream.answer, calls(stream)) == ("See:", [("f", '{"a": 1}')])
    assert read("all\nJust so.", functionary).answer == "Just so."
    stream = read("Well, so.", functionary)
    assert (stream.answer, calls(stream)) == ("Well, so.", [])


def test_a_section_begins_only_where_the_answer_does() -> None:
    bare = Formats(ToolFormat(kind="object", opens=("{",), at_start=True), None)
    assert calls(read(' {"name": "f", "arguments": {"a": 1}}', bare)) == [("f", '{"a": 1}')]
    text = 'Say {"name": "f", "arguments": {"a": 1}}'
    stream = read(text, bare)
    assert (stream.answer, calls(stream)) == (text, [])


def test_calls_within_reasoning_count_only_at_the_end() -> None:
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    stream = read(f"why {call}\n{call} \n", Formats(), opened=True)
    assert (stream.answer, stream.reasoning, calls(stream)) == ("", "why", [("f", "{}")] * 2)
    stream = read(f"why {call} not</think>so {call}", Formats(), opened=True)
    assert (stream.answer, stream.reasoning, calls(stream)) == ("so", f"why {call} not", [("f", "{}")])


def test_a_block_that_the_prompt_began_may_be_begun_once_more() -> None:
    stream = read("\n<think>why</think>so", Formats(), opened=True)
    assert (stream.answer, stream.reasoning) == ("so", "why")
    stream = read("</think>\n\nso", Formats(), opened=True)
    assert (stream.answer, stream.reasoning) == ("so", "")


def test_a_block_that_nobody_began_may_be_ended() -> None:
    assert read("</think>\n\nso", Formats()).answer == "so"


@pytest.mark.parametrize("text", ["<tool_call>{", '<tool_call>{"a": "', "why <tool_call>"])
def test_sections_that_are_none_cost_linear_time(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_splitter, "MAX_READ_AGAIN", 2048)

    def seconds(times: int) -> float:
        splitter = AnswerSplitter(Formats(HERMES, None), CallIds(b""), ParameterTypes())
        stream, begun = TextStream([], splitter), time.thread_time()
        for _ in range(times):
            stream.feed(text.encode())
        stream.finish()
        assert stream.answer == text * times
        return time.thread_time() - begun

    few = 8192 // len(text)
    assert seconds(4 * few) < 12 * seconds(few) + 0.2


# --- control tokens -----------------------------------------------------------------------------


def spoken(formats: MarkedFormats, pieces: list[int | str]) -> TextStream:
    """A stream of control tokens, by their ids, and texts."""
    stream = TextStream(["stop"], AnswerSplitter(formats.formats, CallIds(b""), ParameterTypes()))
    for piece in pieces:
        if isinstance(piece, int):
            stream.mark(formats.characters[piece])
        else:
            stream.feed(piece.encode())
    stream.finish()
    return stream


TOKENS = {"<|chan|>": 1, "<|say|>": 2, "<|over|>": 3, "[CALLS]": 4}


def test_control_tokens_mark_and_are_no_text() -> None:
    formats = marked(SECTIONS, TOKENS)
    stream = spoken(
        formats, [1, "inner", 2, "why", 3, 1, "outer", 2, "so", 4, '[{"name": "f", ', '"arguments": {}}]']
    )
    assert (stream.answer, stream.reasoning, calls(stream)) == ("so", "why", [("f", "{}")])
    assert stream.text == 'innerwhyouterso[{"name": "f", "arguments": {}}]'


def test_a_text_that_spells_a_control_token_is_a_text() -> None:
    text = '<|chan|>inner<|say|>why<|over|>[CALLS][{"name": "f", "arguments": {}}]'
    stream = spoken(marked(SECTIONS, TOKENS), [text])
    assert (stream.answer, stream.reasoning, calls(stream)) == (text, "", [])


def test_control_tokens_that_are_out_of_place_are_left_out() -> None:
    stream = spoken(marked(SECTIONS, TOKENS), ["a", 2, "b", 1, "c", 4, "[7] d"])
    assert stream.answer == stream.text == "abc[7] d"


def test_a_stop_text_is_found_across_a_control_token() -> None:
    stream = spoken(marked(SECTIONS, TOKENS), ["a st", 2, "o"])
    assert not stream.stopped
    assert stream.answer == "a sto"
    stream = TextStream(["stop"], AnswerSplitter(Formats(), CallIds(b""), ParameterTypes()))
    stream.feed(b"a st")
    stream.mark("\udc00")
    stream.feed(b"op")
    assert stream.stopped
    assert stream.text == "a "


def test_half_a_character_before_a_control_token_becomes_a_replacement_mark() -> None:
    formats = marked(SECTIONS, TOKENS)
    stream = TextStream([], AnswerSplitter(formats.formats, CallIds(b""), ParameterTypes()))
    stream.feed("é".encode()[:1])
    assert not stream.at_character
    stream.mark(formats.characters[3])
    assert stream.at_character
    assert stream.text == "\ufffd"


@given(
    st.lists(
        st.integers(1, 4) | st.sampled_from(["a", " ", "inner", "outer", '[{"name": "f"', "}]"]), max_size=15
    )
)
def test_no_mark_is_ever_seen(pieces: list[int | str]) -> None:
    stream = spoken(marked(SECTIONS, TOKENS), pieces)
    seen = [stream.text, stream.answer, stream.reasoning]
    seen += [part for call in stream.tool_calls for part in (call.name, call.arguments, call.id)]
    for text in seen:
        text.encode()
        assert text == without_marks(text)


def test_formats_without_control_tokens_are_as_they_were() -> None:
    assert marked(SECTIONS, {}) == MarkedFormats(SECTIONS)
    assert set(SECTIONS.texts()) >= {"[CALLS]", "<|over|>", "<|chan|>outer<|say|>"}


def test_tool_calls_of_a_response_are_plain() -> None:
    call = read('[CALLS][{"name": "f", "arguments": {}, "id": "abc"}]', SECTIONS).tool_calls[0]
    assert call == ToolCall(call.id, "f", "{}")
