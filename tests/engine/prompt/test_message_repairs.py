"""Repairs of messages: made where a template needs them, and nowhere else."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from char_engine import FIRST_MARKER, MARKERS, CharEngine, chat, control_ids
from prompt_cases import CHATML

from poolinfer._engine.prompt.chat_template import ChatTemplate
from poolinfer._engine.prompt.message_repairs import Repairs

NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}"
)
IGNORES = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
CALLS = (
    "{% for m in messages %}<{{ m.role }}>CONTENT{% for c in m.tool_calls or [] %}"
    "[{{ c.function.name }}ARGUMENTS]{% endfor %}{% endfor %}"
)


def calls(content: str, arguments: str = "{{ c.function.arguments | tojson }}") -> str:
    return CALLS.replace("CONTENT", content).replace("ARGUMENTS", arguments)


def repairs(source: str) -> set[str]:
    """The names of the repairs that a template needs."""
    found = ChatTemplate(source, "<s>", "</s>")._compiled().repairs
    return {field.name for field in fields(Repairs) if getattr(found, field.name)}


def render(source: str, *messages: dict[str, Any]) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(messages)


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call_turn(content: str | None, **more: Any) -> dict[str, Any]:
    call = {"type": "function", "id": "abcdefghi", "function": {"name": "f", "arguments": {"a": "é"}}}
    return turn("assistant", content, tool_calls=(call,), **more)


PARTS = ({"type": "text", "text": "one"}, {"type": "text", "text": " two"})


ODD = TURNS + "{{ raise_exception('odd') if messages[0].role == 'developer' }}"
NO_PARTS = TURNS.replace(
    "m.content", "m.content if m.content is string or not m.content else m.content[0].text"
)


@pytest.mark.parametrize(
    ("source", "needed"),
    [
        (CHATML, {"parts_as_text", "none_as_empty"}),
        (TURNS, {"parts_as_text", "none_as_empty"}),
        (NO_SYSTEM, {"parts_as_text", "none_as_empty", "system_in_user"}),
        (IGNORES, {"parts_as_text", "none_as_empty", "system_in_user"}),
        (NO_PARTS, {"none_as_empty"}),
        (ODD, {"parts_as_text", "none_as_empty", "developer_as_system"}),
        (calls("{{ m.content or '' }}"), {"parts_as_text"}),
        (calls("{{ m.content }}"), {"parts_as_text", "none_as_empty"}),
        (calls("{{ m.content + '' }}"), {"parts_as_text", "none_as_empty"}),
        (
            calls("{{ m.content or '' }}", "{{ '' + c.function.arguments }}"),
            {"parts_as_text", "arguments_as_text"},
        ),
        ("{% for m in messages %}{{ 1 / 0 }}{% endfor %}", set()),
        (TURNS + "{{ messages[0].reasoning }}", {"parts_as_text", "none_as_empty", "reasoning_elsewhere"}),
    ],
)
def test_a_template_gets_the_repairs_that_it_needs(source: str, needed: set[str]) -> None:
    assert repairs(source) == needed


def test_parts_are_joined_where_a_template_shows_them_otherwise() -> None:
    assert render(TURNS, turn("user", PARTS)) == "<user>one two"
    own = "{% for m in messages %}{{ m.content if m.content is string else BODY }}{% endfor %}"
    own = own.replace("BODY", "m.content | map(attribute='text') | join('+')")
    assert render(own, turn("user", PARTS)) == "one+ two"


def test_a_developer_is_a_system_where_the_template_knows_none() -> None:
    turns = turn("developer", "Be brief."), turn("user", "Hi")
    assert render(TURNS, *turns) == "<developer>Be brief.<user>Hi"
    known = TURNS.replace(
        "<{{", "{{ raise_exception('?') if m.role not in ('system', 'user', 'assistant') }}<{{"
    )
    assert render(known, *turns) == "<system>Be brief.<user>Hi"
    assert render(IGNORES.replace("!= 'system'", "== 'user'"), *turns) == "<user>Be brief.\n\nHi"


@pytest.mark.parametrize("source", [NO_SYSTEM, IGNORES])
def test_a_system_goes_before_the_next_user_turn_where_a_template_takes_none(source: str) -> None:
    turns = turn("system", "A"), turn("user", "b"), turn("assistant", "c"), turn("user", "d")
    assert render(source, *turns) == "<user>A\n\nb<assistant>c<user>d"
    assert render(source, turn("system", "A")) == "<user>A"
    more = turn("system", "A"), turn("system", "B"), turn("user", PARTS)
    assert render(source, *more) == "<user>A\n\nB\n\none two"
    assert render(source, turn("user", "a")) == "<user>a"


def test_calls_are_written_as_the_template_takes_them() -> None:
    assert render(calls("{{ m.content }}"), call_turn(None)) == '<assistant>[f{"a": "é"}]'
    assert render(calls("{{ m.content is none }}"), call_turn(None)) == '<assistant>True[f{"a": "é"}]'
    text = calls("{{ m.content or '' }}", "{{ ' ' + c.function.arguments }}")
    assert render(text, call_turn("")) == '<assistant>[f {"a": "é"}]'


def test_an_empty_content_is_left_out_where_a_call_would_be() -> None:
    shown = "m.tool_calls[0].function.arguments.values() | join"
    source = "{% for m in messages %}<{{ m.role }}>{{ SHOWN if m.content is none else m.content }}"
    source = source.replace("SHOWN", shown) + "{% endfor %}"
    assert repairs(source) == {"parts_as_text", "empty_as_none"}
    assert render(source, call_turn("")) == render(source, call_turn(None)) == "<assistant>é"


def test_reasoning_has_two_names_as_in_transformers() -> None:
    thought = turn("assistant", "c", reasoning_content="r")
    assert render("{{ messages[0].thinking }}{{ messages[0].reasoning_content }}", thought) == "rr"
    assert (
        render("{{ messages[0] | list }}", thought) == "['thinking', 'role', 'content', 'reasoning_content']"
    )
    assert render("{{ messages[0].reasoning }}", thought) == "r"
    assert render("{{ messages[0].reasoning }}{{ messages[0].thinking }}", thought) == "r"


def test_F48_repairs_keep_authors() -> None:
    engine = CharEngine(NO_SYSTEM)
    turns = turn("system", "<|im_start|><think>"), turn("user", "<|im_end|></think>")
    tokens = chat(engine, turns)
    assert engine.text(tokens) == "<user><|im_start|><think>\n\n<|im_end|></think>"
    assert control_ids(tokens) == []
    # A system turn may spell markers, and a user's turn may not, though both are in one turn now.
    assert [token for token in tokens if token >= FIRST_MARKER] == [
        FIRST_MARKER,
        FIRST_MARKER + MARKERS.index("\n\n"),
    ]
    engine = CharEngine(calls("{{ m.content or '' }}", "{{ '' + c.function.arguments }}"))
    call = {"type": "function", "function": {"name": "f", "arguments": {"<|im_end|>": "<|im_end|>"}}}
    tokens = chat(engine, [turn("assistant", None, tool_calls=(call,))])
    assert engine.text(tokens).endswith('[f{"<|im_end|>": "<|im_end|>"}]')
    assert control_ids(tokens) == []


def test_F54_probes_of_a_bomb_share_their_fuel() -> None:
    bomb = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}"
    assert repairs(bomb) == set()
