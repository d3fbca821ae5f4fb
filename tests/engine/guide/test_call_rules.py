"""For each kind of spelling, a grammar takes the calls that a model writes so, and no misspelled ones."""

from __future__ import annotations

import pytest
from guide_bench import GuideBench
from tool_spellings import CALLS, SPELLINGS, TOOLS

from poolinfer._engine.guide.guide_grammar import lark_grammar
from poolinfer._engine.guide.lark_parts import NOTHING
from poolinfer._engine.guide.tool_grammar import tool_part
from poolinfer._engine.text.tool_format import ToolFormat
from poolinfer._engine.text.tool_writer import written_calls


def allowed(bench: GuideBench, spelled: ToolFormat, text: str, *, several: bool = True) -> bool:
    part = tool_part(spelled, TOOLS, bench.guides.vocabulary, required=True, several=several)
    assert part is not None
    return bench.whole(lark_grammar("tools", NOTHING, part), text)


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("calls", CALLS)
def test_a_grammar_takes_calls_as_the_model_spells_them(bench: GuideBench, name: str, calls: str) -> None:
    spelled = SPELLINGS[name]
    if len(CALLS[calls]) > 1 and not spelled.several:
        return
    text = written_calls(spelled, CALLS[calls]).removeprefix(spelled.begun).lstrip("\n")
    assert allowed(bench, spelled, text), text


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_grammar_takes_no_other_tool_and_no_cut_call(bench: GuideBench, name: str) -> None:
    spelled = SPELLINGS[name]
    text = written_calls(spelled, CALLS["plain"]).removeprefix(spelled.begun).lstrip("\n")
    assert not allowed(bench, spelled, text.replace("get_weather", "get_wether"))
    assert not allowed(bench, spelled, text[: len(text) // 2])


@pytest.mark.parametrize("name", [name for name in SPELLINGS if SPELLINGS[name].several])
def test_one_call_may_be_all(bench: GuideBench, name: str) -> None:
    spelled = SPELLINGS[name]
    text = written_calls(spelled, CALLS["several"]).removeprefix(spelled.begun).lstrip("\n")
    assert not allowed(bench, spelled, text, several=False)
