"""The answers recorded in llama.cpp's tests, read by the formats that poolinfer learns from the templates.

Each answer is fed whole, character by character, and in pieces of three and of seven characters. Content and
reasoning are compared without whitespace around them, and arguments as JSON values. Where an answer continues a
turn, llama.cpp's result begins with that turn, and ours holds only what is new. Where llama.cpp was told to leave
reasoning in the content, both are compared as one text without marks and whitespace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from chat_cases import Message, RecordedAnswer, read_cases

from poolinfer._data.errors import InvalidRequest
from poolinfer._data.results import ToolCall
from poolinfer._engine.prompt.chat_template import ChatTemplate
from poolinfer._engine.prompt.formats.learning import learn_formats
from poolinfer._engine.prompt.template_render import TemplateRender, opens_reasoning
from poolinfer._engine.text.answer_splitter import AnswerSplitter
from poolinfer._engine.text.call_ids import CallIds
from poolinfer._engine.text.formats import Formats
from poolinfer._engine.text.parameter_types import ParameterTypes
from poolinfer._engine.text.reasoning_format import THINK
from poolinfer._engine.text.text_stream import TextStream
from poolinfer._engine.text.tool_format import HERMES

#: Cases that are known to be read in another way, and why; `docs/formats.md` explains them.
KNOWN_MISSES = {
    ("Qwen3.5-4B.jinja", 2377): "a second <think> in an open block",
    ("mistralai-Ministral-3-14B-Reasoning-2512.jinja", 2648): "a fence around JSON",
    ("meta-llama-Llama-3.1-8B-Instruct.jinja", 6302): "a fence around JSON",
    ("CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja", 2847): "a call that breaks off",
    ("Cohere2MoE.jinja", 2962): "a call that breaks off",
    ("inclusionai-ling-3.0-flash.jinja", 4683): "text after a call in an open block",
    ("inclusionai-ling-3.0-flash.jinja", 4742): "an end of turn in plain text",
    ("inclusionai-ling-3.0-flash.jinja", 4748): "an end of turn in plain text",
    ("MiniMax-M3.jinja", 5793): "marks within a text",
    ("CohereForAI-c4ai-command-r-plus-tool_use.jinja", 5893): "marks of a turn in plain text",
    ("Apriel-1.6-15b-Thinker-fixed.jinja", 6211): "the words that open a block",
    ("Apriel-1.6-15b-Thinker-fixed.jinja", 6219): "the words that open a block",
    ("openai-gpt-oss-120b.jinja", 6547): "a tool that nobody offered",
    ("openai-gpt-oss-120b.jinja", 6556): "a tool that nobody offered",
}
_SIZES = (1, 3, 7)


class _Split:
    """What poolinfer makes of an answer."""

    def __init__(self, content: str, reasoning: str, calls: tuple[ToolCall, ...]) -> None:
        self.content, self.reasoning, self.calls = content, reasoning, calls

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Split) and vars(self) == vars(other)

    def __repr__(self) -> str:
        calls = [(call.name, call.arguments, call.id) for call in self.calls]
        return f"{self.content!r}, {self.reasoning!r}, {calls}"


@cache
def _template(path: Path) -> tuple[ChatTemplate, Formats]:
    template = ChatTemplate(path.read_text(encoding="utf-8"), "", "")
    return template, learn_formats(TemplateRender(template), tools=True)


def _pieces(text: str, size: int) -> Iterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size].encode()


def split(case: RecordedAnswer, path: Path, size: int) -> _Split:
    """A recorded answer as poolinfer reads it, fed in pieces of so many characters."""
    template, formats = _template(path)
    tools = case.options.get("tools", [])
    stream = TextStream(
        [],
        AnswerSplitter(
            formats if tools else Formats(None, formats.reasoning),
            CallIds(b""),
            ParameterTypes(tools),
            reasoning_open=_reasoning_open(case, template, formats),
        ),
    )
    for piece in _pieces(case.output, size):
        stream.feed(piece)
    stream.finish()
    return _Split(stream.answer.strip(), stream.reasoning.strip(), stream.tool_calls)


def _reasoning_open(case: RecordedAnswer, template: ChatTemplate, formats: Formats) -> bool:
    """Whether the prompt of a case ends in a block of reasoning."""
    continued = case.options.get("continue_final_message", "")
    if continued:
        return bool(continued == "COMMON_CHAT_CONTINUATION_REASONING")
    thinks = case.options.get("enable_thinking", True)
    reasoning = formats.reasoning or THINK
    known = reasoning.variables("on" if thinks else "off") or {}
    # llama.cpp sets the switches that are True or False.
    known = known if set(map(type, known.values())) == {bool} else {}
    try:
        rendered = template.render(
            [{"role": "user", "content": "Hey there!"}],
            case.options.get("tools", []),
            variables={"enable_thinking": thinks, **known},
        )
    except InvalidRequest:
        return False
    return opens_reasoning(rendered, reasoning, continued=False)


def fault(case: RecordedAnswer, found: _Split, formats: Formats) -> str:
    """What is wrong with a reading of a recorded answer; ``""`` if nothing is."""
    wanted, begun = case.expected, Message()
    if "continue_final_message" in case.options:
        begun = case.options["messages"][-1]
    if case.options.get("reasoning_format", "COMMON_REASONING_FORMAT_NONE").endswith("NONE"):
        texts = [found.reasoning + found.content, wanted.reasoning + wanted.content]
        ours, theirs = (_bare(text, formats) for text in texts)
        # Reasoning that was given is not always repeated there.
        for given in (begun.reasoning + begun.content, begun.content):
            if given and theirs.startswith(_bare(given, formats)):
                theirs = theirs.removeprefix(_bare(given, formats))
                break
        if ours != theirs:
            return f"text {ours!r}, not {theirs!r}"
    else:
        for name in ("reasoning", "content"):
            theirs = getattr(wanted, name).strip().removeprefix(getattr(begun, name).strip()).strip()
            if (ours := getattr(found, name)) != theirs:
                return f"{name} {ours!r}, not {theirs!r}"
    return _fault_of_calls(found, wanted, partial=case.options.get("is_partial", False))


def _bare(text: str, formats: Formats) -> str:
    reasoning = formats.reasoning or THINK
    marks = (*reasoning.opens, *reasoning.closes, *reasoning.skipped, *reasoning.leads)
    for mark in sorted(marks, key=len, reverse=True):
        text = text.replace(mark, "")
    return re.sub(r"\s+", "", text)


def _fault_of_calls(found: _Split, wanted: Message, *, partial: bool) -> str:
    ours = [(call.name, call.arguments) for call in found.calls]
    if [name for name, _ in ours] != [name for name, _, _ in wanted.calls]:
        return f"calls {ours}, not {list(wanted.calls)}"
    for call, (_, arguments, call_id) in zip(found.calls, wanted.calls, strict=True):
        if _value(call.arguments) != _value(arguments or ("" if partial else "{}")):
            return f"arguments {call.arguments!r}, not {arguments!r}"
        if call_id and call.id != call_id:
            return f"id {call.id!r}, not {call_id!r}"
    return ""


def _value(arguments: str) -> Any:
    """Arguments as a value; as text without whitespace where they are only the beginning of one."""
    try:
        return json.loads(arguments)
    except ValueError:
        return re.sub(r"\s+", "", arguments)


def faults(case: RecordedAnswer, templates: Path) -> str:
    """What is wrong with our reading of a case."""
    path = templates / case.template
    whole = split(case, path, max(1, len(case.output)))
    for size in _SIZES:
        if (cut := split(case, path, size)) != whole:
            return f"in pieces of {size}: {cut}, whole: {whole}"
    return fault(case, whole, _template(path)[1])


@pytest.fixture(scope="module")
def recorded(llama_cpp_source: Path) -> tuple[list[RecordedAnswer], list[str]]:
    return read_cases(llama_cpp_source / "tests" / "test-chat.cpp")


def test_nearly_all_cases_can_be_read(recorded: tuple[list[RecordedAnswer], list[str]]) -> None:
    cases, unread = recorded
    assert len(cases) >= 350
    assert len(unread) <= 5, unread


def test_recorded_answers_are_split_as_recorded(
    recorded: tuple[list[RecordedAnswer], list[str]], llama_cpp_source: Path
) -> None:
    cases, _ = recorded
    templates = llama_cpp_source / "models" / "templates"
    missed = {}
    for case in cases:
        if found := faults(case, templates):
            missed[case.template, case.line] = found
    unknown = [
        f"{name}:{line}: {why}" for (name, line), why in missed.items() if (name, line) not in KNOWN_MISSES
    ]
    assert not unknown, "\n".join(unknown)
    assert set(KNOWN_MISSES) <= set(missed), (
        "a miss is mended: take it off the list and out of docs/formats.md"
    )
    assert len(missed) <= 0.05 * len(cases)


KINDS = {
    "object": "JSON object",
    "array": "JSON array",
    "named": "name and JSON",
    "tagged": "marked arguments",
    "pythonic": "Python",
}


def row_of(path: Path, cases: list[RecordedAnswer]) -> str:
    """What `docs/formats.md` says of a template."""
    formats = _template(path)[1]
    tools, reasoning = formats.tools, formats.reasoning
    if tools is None or reasoning is None:
        raise ValueError("a format was not learned")
    mine = [case for case in cases if case.template == path.name]
    missed = sum((case.template, case.line) in KNOWN_MISSES for case in mine)
    cells = [
        path.stem,
        "Hermes', assumed" if tools == replace(HERMES, offered=tools.offered) else KINDS[tools.kind],
        "template" if tools.offered else "poolinfer",
        "yes" if reasoning.reasons else "no",
        ", ".join(switch.setting for switch in reasoning.switches) or "none",
        f"{len(mine) - missed} of {len(mine)}" if mine else "none",
    ]
    return f"| {' | '.join(cells)} |"


def test_the_page_says_what_is_learned(
    recorded: tuple[list[RecordedAnswer], list[str]], llama_cpp_source: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    templates = sorted((llama_cpp_source / "models/templates").glob("*.jinja"))
    missing = [row for path in templates if (row := row_of(path, recorded[0])) not in page]
    assert not missing, "\n".join(missing)
    assert all(str(line) in page for _, line in KNOWN_MISSES)
