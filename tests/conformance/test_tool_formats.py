"""Calls that the templates of llama.cpp's source render are read back, and their guides take the renderings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._engine.guide.guide_grammar import lark_grammar
from poolinfer._engine.guide.guides import Guides
from poolinfer._engine.guide.lark_parts import NOTHING
from poolinfer._engine.guide.tool_grammar import tool_part
from poolinfer._engine.llama.llama_engine import LlamaEngine
from poolinfer._engine.prompt.chat_template import ChatTemplate
from poolinfer._engine.prompt.formats.tool_learning import learn_tools
from poolinfer._engine.prompt.template_render import TemplateRender
from poolinfer._engine.text.answer_splitter import AnswerSplitter
from poolinfer._engine.text.call_ids import CallIds
from poolinfer._engine.text.formats import Formats
from poolinfer._engine.text.parameter_types import ParameterTypes
from poolinfer._engine.text.section_reader import SectionReader
from poolinfer._engine.text.text_stream import TextStream
from poolinfer._engine.text.tool_format import ToolFormat
from poolinfer._engine.text.whole_answer import read_calls

#: How many of the 70 templates are of each kind; Gemma's, whose keys are bare, count as tagged.
KINDS = {"object": 16, "array": 9, "named": 14, "tagged": 23, "pythonic": 1, "": 7}
#: What Firefunction's template needs besides messages.
_VARIABLES = {"functions": "", "datetime": ""}
#: Renderings that say something else than the call. One template escapes nothing within single quotes. Another one
#: indents JSON, and with it what follows a line separator within a string.
AMBIGUOUS = {
    ("LFM2.5-8B-A1B", "quotes"),
    ("LFM2.5-8B-A1B", "backslash"),
    ("CohereForAI-c4ai-command-r-plus-tool_use", "unicode"),
}
_TEXT = {"type": "string", "description": "text"}


def _tool(name: str, **properties: Any) -> dict[str, Any]:
    for one in properties.values():
        one.setdefault("description", "one")
    function = {"name": name, "description": "w", "parameters": {"type": "object", "properties": properties}}
    return {"type": "function", "function": function}


_PLACE = {"b": dict(_TEXT), "c": {"type": "number", "description": "c"}}
_PLACES = {"type": "array", "items": {"type": "object", "properties": _PLACE}}
TOOLS = (
    _tool(
        "get_weather",
        city=dict(_TEXT),
        days={"type": "integer"},
        fine={"type": "boolean"},
        more={"type": "object", "properties": {"a": _PLACES}, "additionalProperties": {"type": "string"}},
        tags={"type": "array", "items": {"type": "string"}},
        ratio={"type": "number"},
    ),
    _tool("no-arguments.2"),
)
TYPES = ParameterTypes(TOOLS)
CALLS: Mapping[str, list[tuple[str, dict[str, Any]]]] = {
    "plain": [("get_weather", {"city": "Paris", "days": 3})],
    "quotes": [("get_weather", {"city": "He said \"it's <b>\" & 'ok', }] {[:"})],
    "lines": [("get_weather", {"city": "  two\n lines\n\n"})],
    "backslash": [("get_weather", {"city": "C:\\new\\table \\u0041"})],
    "unicode": [("get_weather", {"city": "Zürich 東京 😀 \u00a0\u2028"})],
    "nested": [
        (
            "get_weather",
            {"fine": True, "more": {"a": [{"b": "x", "c": 1.5}, {"b": "y", "c": 2}]}, "tags": ["p"]},
        )
    ],
    "false": [("get_weather", {"fine": False, "ratio": -0.5})],
    "like a number": [("get_weather", {"city": "77"})],
    "empty": [("get_weather", {"city": ""})],
    "none": [("no-arguments.2", {})],
    "several": [
        ("get_weather", {"city": "A"}),
        ("no-arguments.2", {}),
        ("get_weather", {"city": "B", "days": 1}),
    ],
}


def _templates(source: Path) -> Iterator[tuple[str, ChatTemplate]]:
    for path in sorted((source / "models" / "templates").glob("*.jinja")):
        yield path.stem, ChatTemplate(path.read_text(), "<BOS>", "<EOS>")


@pytest.fixture(scope="module")
def learned(llama_cpp_source: Path) -> dict[str, tuple[ChatTemplate, ToolFormat]]:
    """Each template and the format that is learned from it."""
    return {
        name: (template, learn_tools(TemplateRender(template)))
        for name, template in _templates(llama_cpp_source)
    }


@pytest.fixture(scope="module")
def engine(llama_cpp_source: Path) -> Iterator[LlamaEngine]:
    """An engine with the vocabulary of Qwen2, and nothing else."""
    import llama_cpp.llama_cpp as api

    path = str(llama_cpp_source / "models" / "ggml-vocab-qwen2.gguf")
    options = api.llama_model_default_params()
    options.vocab_only = True
    model = api.llama_model_load_from_file(path.encode(), options)
    yield LlamaEngine(
        api, model, ModelSpec(path, (0, 0, 0, 0)), LaneSpec(), computing=lambda: None, release=lambda: None
    )
    api.llama_model_free(model)


def _rendered(template: ChatTemplate, calls: list[tuple[str, dict[str, Any]]]) -> str:
    turn = {
        "role": "assistant",
        "content": "",
        "tool_calls": tuple(
            {"id": f"abcdefgh{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(calls)
        ),
    }
    messages = [{"role": "user", "content": "zqsaid"}, turn]
    text = str(template.render(messages, TOOLS, variables=_VARIABLES, add_generation_prompt=False))
    return text[text.rfind("zqsaid") + len("zqsaid") :]


def _cases(learned: dict[str, tuple[ChatTemplate, ToolFormat]]) -> Iterator[tuple[str, str, ToolFormat, str]]:
    for name, (template, form) in learned.items():
        for label, calls in CALLS.items():
            if form.rendered and (form.several or len(calls) == 1):
                yield name, label, form, _rendered(template, calls)


def _kind(form: ToolFormat) -> str:
    return "" if not form.rendered else "tagged" if form.bare_keys else form.kind


def test_the_kinds_of_all_templates(learned: dict[str, tuple[ChatTemplate, ToolFormat]]) -> None:
    kinds = Counter(_kind(form) for _, form in learned.values())
    print(dict(kinds))
    assert kinds == KINDS


def test_what_templates_render_is_read_wherever_it_is_cut(
    learned: dict[str, tuple[ChatTemplate, ToolFormat]],
) -> None:
    right, wrong, cuts = 0, set(), 0
    for name, label, form, text in _cases(learned):
        found = read_calls(form, text, TYPES)
        try:
            same = [(call.name, json.loads(call.arguments)) for call in found] == CALLS[label]
        except ValueError:
            same = False
        opened, rest = _section(form, text)
        whole = _read(form, opened, rest)
        for cut in range(len(rest)):
            same = same and _read(form, opened, rest[:cut], rest[cut:]) == whole
            cuts += 1
        right += same
        wrong |= set() if same else {(name, label)}
    print(f"{right} renderings read back right, cut at {cuts} places; wrong: {sorted(wrong)}")
    assert wrong == AMBIGUOUS
    assert right > 600


def _section(form: ToolFormat, text: str) -> tuple[str, str]:
    """The opening of the first section, and what follows it."""
    text = form.begun + text if form.begun and form.begun not in text else text
    place, opened = min((text.find(one), -len(one), one) for one in form.opens if one in text)[::2]
    return opened, text[place + len(opened) :]


def _read(form: ToolFormat, opened: str, *pieces: str) -> dict[int, tuple[str, str, str]]:
    reader = SectionReader(form, opened, TYPES)
    deltas = [delta for piece in pieces if not reader.ended for delta in reader.feed(piece)]
    calls: dict[int, tuple[str, str, str]] = {}
    for delta in [*deltas, *reader.finish()]:
        number, name, arguments = calls.get(delta.index, ("", "", ""))
        calls[delta.index] = (number + delta.id, name + delta.name, arguments + delta.arguments)
    return calls


#: Arguments over several lines, which no guide lets a model write.
INDENTED = {"CohereForAI-c4ai-command-r-plus-tool_use"}
#: What a guide does not take: strings without escapes, lists as Python shows them, pairs of escaped surrogates.
NOT_GUIDED = {
    ("LFM2.5-8B-A1B", "quotes"),
    ("ByteDance-Seed-OSS", "nested"),
    ("openbmb-MiniCPM5-1B", "nested"),
    ("Reka-Edge", "unicode"),
}


def test_guides_take_what_templates_render(
    learned: dict[str, tuple[ChatTemplate, ToolFormat]], engine: LlamaEngine
) -> None:
    guides = Guides(engine)
    right, wrong = 0, set()
    for name, label, form, text in _cases(learned):
        part = tool_part(form, TOOLS, guides.vocabulary, required=True, several=True)
        assert part is not None
        opened, rest = _section(form, text)
        reader = SectionReader(form, opened, TYPES)
        reader.feed(rest)
        reader.finish()
        section = (opened + rest.removesuffix(reader.rest)).removeprefix(form.begun)
        guide = guides.guide(lark_grammar("tools", NOTHING, part))
        tokens = engine.tokenize(section, add_special=False, parse_special=True)
        for token in tokens:
            if not guide.allows(token):
                wrong.add((name, label))
                break
            guide.accept(token)
        else:
            right += 1
    print(f"{right} renderings are taken by their guides; wrong: {sorted(wrong)}")
    assert {case for case in wrong if case[0] not in INDENTED} == NOT_GUIDED
    assert right > 600


@pytest.mark.parametrize(
    ("text", "answer", "calls"),
    [
        ("all\nHello!", "Hello!", []),
        ('f\n{"a": 1}>>>g\n{}', "", [("f", '{"a": 1}'), ("g", "{}")]),
        ("all\nSee:\n>>>f\n{}", "See:", [("f", "{}")]),
        ("Hello", "Hello", []),
    ],
)
def test_what_a_prompt_has_begun_is_read_before_the_answer(
    learned: dict[str, tuple[ChatTemplate, ToolFormat]], text: str, answer: str, calls: list[tuple[str, str]]
) -> None:
    _, form = learned["meetkai-functionary-medium-v3.2"]
    assert (form.begun, form.answer_name) == (">>>", "all")
    splitter = AnswerSplitter(Formats(form, None), CallIds(b""), ParameterTypes())
    stream = TextStream([], splitter)
    for char in text:
        stream.feed(char.encode())
    stream.finish()
    assert stream.answer == answer
    assert [(call.name, call.arguments) for call in stream.tool_calls] == calls
