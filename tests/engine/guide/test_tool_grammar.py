"""Grammars of tool calls, and the reasoning that may stand before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from guide_bench import GuideBench

from poolinfer._data.constraint import Constraint
from poolinfer._engine.guide.guide_grammar import GuideGrammar, grammar_of, lark_grammar
from poolinfer._engine.guide.lark_parts import NOTHING, LarkPart, reasoning_part
from poolinfer._engine.guide.tool_grammar import tool_part
from poolinfer._engine.text.reasoning_format import THINK, ReasoningFormat
from poolinfer._engine.text.tool_format import HERMES, ToolFormat


def tool(name: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    function = {"name": name, **({} if parameters is None else {"parameters": parameters}), **more}
    return {"type": "function", "function": function}


WEATHER = tool(
    "get_weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
TREE = tool(
    "tree",
    {
        "type": "object",
        "properties": {"child": {"$ref": "#"}, "leaf": {"$ref": "#/$defs/leaf"}},
        "additionalProperties": False,
        "$defs": {"leaf": {"type": "integer"}},
    },
)
LOOSE = tool("loose", WEATHER["function"]["parameters"], strict=False)
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'


def grammar(
    bench: GuideBench,
    *,
    required: bool,
    several: bool = True,
    spelled: ToolFormat = HERMES,
    before: LarkPart = NOTHING,
    tools: tuple[dict[str, Any], ...] = (WEATHER, TREE, LOOSE),
) -> GuideGrammar:
    part = tool_part(spelled, tools, bench.guides.vocabulary, required=required, several=several)
    assert part is not None
    return lark_grammar("tools", before, part)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "a <tool> and <tool_call",
        CALL,
        f"Let me see.\n{CALL}",
        f"{CALL}\n{CALL}",
        f"{CALL}\nDone.",
    ],
)
def test_prose_is_free_where_no_call_is_required(bench: GuideBench, text: str) -> None:
    assert bench.whole(grammar(bench, required=False), text)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ('<tool_call>\n{"name": "get_wether', '<tool_call>\n{"name": "get_we'),
        (CALL.replace("city", "town"), '<tool_call>\n{"name": "get_weather", "arguments": {"'),
        (CALL.replace("}}", ', "unit": "K"}}'), CALL.partition("}}")[0] + ', "unit": "'),
        (CALL.replace("}}", "}"), CALL.partition("}}")[0] + "}"),
        ("<tool_call> {", "<tool_call>"),
    ],
)
@pytest.mark.parametrize("required", [False, True])
def test_no_call_is_misspelled(bench: GuideBench, required: bool, text: str, allowed: str) -> None:
    assert bench.read(bench.guides.guide(grammar(bench, required=required)), text) == allowed


@pytest.mark.parametrize(
    ("text", "whole"), [(CALL, True), (f"{CALL}\n{CALL}", True), ("hello", False), (f" {CALL}", False)]
)
def test_an_answer_is_calls_and_nothing_else_where_one_is_required(
    bench: GuideBench, text: str, whole: bool
) -> None:
    assert bench.whole(grammar(bench, required=True), text) == whole


@pytest.mark.parametrize("required", [False, True])
def test_an_answer_is_complete_after_its_only_call(bench: GuideBench, required: bool) -> None:
    guide = bench.guides.guide(grammar(bench, required=required, several=False))
    assert bench.read(guide, CALL) == CALL
    assert guide.complete


def test_all_up_to_the_first_value_of_a_required_call_is_forced(bench: GuideBench) -> None:
    guide = bench.guides.guide(grammar(bench, required=True, tools=(WEATHER,)))
    assert bytes(guide.forced(200)).decode() == '<tool_call>\n{"name": "get_weather", "arguments": {"city": "'


def test_references_in_parameters_are_to_the_parameters(bench: GuideBench) -> None:
    for arguments, allowed in (
        ('{"child": {"child": {"leaf": 3}}}', True),
        ('{"child": {"name": 3}}', False),
    ):
        text = f'<tool_call>\n{{"name": "tree", "arguments": {arguments}}}\n</tool_call>'
        assert bench.whole(grammar(bench, required=True), text) == allowed


def test_arguments_of_a_tool_that_is_not_strict_are_any_object(bench: GuideBench) -> None:
    text = CALL.replace("get_weather", "loose").replace('"Rome"', "[1, {}]")
    assert bench.whole(grammar(bench, required=True), text)
    assert not bench.whole(grammar(bench, required=True), text.replace('{"city": [1, {}]}', "[1]"))


def test_marks_that_are_control_tokens_are_those_tokens() -> None:
    bench = GuideBench(control=("<|call|>", "<|/call|>", "<|im_start|>", "<|im_end|>"))
    spelled = ToolFormat(kind="object", opens=("<|call|>",), call_open="<|call|>", call_close="<|/call|>")
    text = f"Hm: {CALL[len('<tool_call>') + 1 : -len('</tool_call>') - 1]}"
    marked = text.replace("{", "<|call|>{", 1) + "<|/call|>"
    found = grammar(bench, required=False, spelled=spelled)
    assert bench.whole(found, marked)
    assert not bench.whole(found, marked.replace("Rome", "Rome<|call|>"))
    # Spelled out, they are prose.
    guide = bench.guides.guide(found)
    for token in marked.encode():
        assert guide.allows(token)
        guide.accept(token)


def test_a_name_may_be_the_key_of_its_arguments(bench: GuideBench) -> None:
    spelled = ToolFormat(kind="object", opens=("[TOOL]",), call_open="[TOOL]", name_key="")
    text = '[TOOL]{"get_weather": {"city": "Rome"}}'
    assert bench.whole(grammar(bench, required=True, spelled=spelled), text)


def test_an_opening_that_is_everyday_text_counts_at_the_start_only(bench: GuideBench) -> None:
    spelled = ToolFormat(
        kind="object", opens=("{",), at_start=True, arguments_key="parameters", several=False
    )
    found = grammar(bench, required=False, spelled=spelled)
    assert bench.whole(found, 'It is {"a": 1}.')
    assert bench.whole(found, '{"a": 1}')
    assert not bench.whole(found, '{"name": "Rome"}')


REASONS = ReasoningFormat(reasons=True)


@pytest.mark.parametrize(
    ("spelled", "opened", "text", "whole"),
    [
        (REASONS, False, "yes", True),
        (REASONS, False, "<think>no, or <think>?</think>\n\nyes", True),
        (REASONS, False, "<think>no</think>maybe", False),
        (REASONS, False, "<think>yes", False),
        (REASONS, True, "hm, yes or no</think>\n\nyes", True),
        (THINK, True, "hm</think>no", True),
        (THINK, True, "yes", False),
        (THINK, False, "<think>hm</think>yes", False),
        (THINK, False, "yes", True),
        (None, False, "yes", True),
    ],
)
def test_a_guide_begins_where_the_reasoning_ends(
    bench: GuideBench, spelled: ReasoningFormat | None, opened: bool, text: str, whole: bool
) -> None:
    before = reasoning_part(spelled, opened=opened, vocabulary=bench.guides.vocabulary)
    assert bench.whole(grammar_of(Constraint("choices", '["yes", "no"]'), before), text) == whole


def test_reasoning_ends_at_the_token_that_ends_it() -> None:
    bench = GuideBench(control=("<|eot|>", "<|answer|>", "<|im_end|>"))
    spelled = ReasoningFormat(opens=("<|eot|>",), closes=("<|answer|>",), closing="<|answer|>", reasons=True)
    before = reasoning_part(spelled, opened=True, vocabulary=bench.guides.vocabulary)
    found = grammar_of(Constraint("regex", "[a-z]+"), before)
    assert bench.whole(found, "1, 2, 3<|answer|>abc")
    assert not bench.whole(found, "abc")


def test_a_call_may_stand_in_place_of_an_answer_by_schema(bench: GuideBench) -> None:
    calls = tool_part(HERMES, (WEATHER,), bench.guides.vocabulary, required=True, several=True)
    found = grammar_of(Constraint("json_schema", '{"type": "boolean"}'), NOTHING, calls)
    assert bench.whole(found, "true")
    assert bench.whole(found, CALL)
    assert not bench.whole(found, f"true{CALL}")
