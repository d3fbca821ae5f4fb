"""The spelling of tool calls is learned from a chat template of each kind, and fails closed for others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from poolinfer._engine.prompt.chat_template import ChatTemplate
from poolinfer._engine.prompt.formats.described_tools import described
from poolinfer._engine.prompt.formats.marks import common_beginning, common_end, openings
from poolinfer._engine.prompt.formats.tool_learning import learn_tools
from poolinfer._engine.prompt.template_render import TemplateRender
from poolinfer._engine.text.parameter_types import ParameterTypes
from poolinfer._engine.text.tool_format import HERMES, ToolFormat
from poolinfer._engine.text.tool_writer import written_calls
from poolinfer._engine.text.whole_answer import read_calls

_FRAME = (
    "{{% if tools %}}[tools {{{{ tools | tojson }}}}]{{% endif %}}"
    "{{% for m in messages %}}<|{{{{ m.role }}}}|>{{{{ m.content }}}}"
    "{{% if m.tool_calls %}}{before}{{% for c in m.tool_calls %}}"
    "{{% set n = c.function.name %}}{{% set a = c.function.arguments %}}{call}"
    "{{% if not loop.last %}}{between}{{% endif %}}{{% endfor %}}{after}{{% endif %}}<|end|>\n{{% endfor %}}"
)
_ARGUMENTS = "{% for k, v in a.items() %}"
#: By the kind of their spelling: what stands before calls, a call, what stands between two, and after them.
TEMPLATES: Mapping[str, tuple[str, str, str, str]] = {
    "object": (
        "<call>\n",
        '{"name": "{{ n }}", "args": {{ a | tojson }}}',
        "\n</call>\n<call>\n",
        "\n</call>",
    ),
    "array": (
        "<calls>[",
        '{"id": "{{ c.id }}", "tool": "{{ n }}", "arguments": {{ a | tojson }}}',
        ", ",
        "]</calls>",
    ),
    "named": (
        "<calls>",
        "<call>{{ c.id }}<name>{{ n }}<args>{{ a | tojson }}</call>",
        "",
        "</calls>",
    ),
    "tagged": (
        "<calls>\n",
        '<invoke name="{{ n }}">\n' + _ARGUMENTS + '<arg name="{{ k }}">'
        "{{ v if v is string else v | tojson }}</arg>\n{% endfor %}</invoke>\n",
        "",
        "</calls>",
    ),
    "pythonic": (
        "<calls>[",
        "{{ n }}(" + _ARGUMENTS + "{{ k }}={{ v | tojson }}{% if not loop.last %}, {% endif %}{% endfor %})",
        ", ",
        "]</calls>",
    ),
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
ARGUMENTS = {"city": 'Köln "b" it\'s', "days": 3}


def source(kind: str) -> str:
    before, call, between, after = TEMPLATES[kind]
    return _FRAME.format(before=before, call=call, between=between, after=after)


def render(template: str, messages: Sequence[Mapping[str, Any]]) -> str:
    return str(ChatTemplate(template, "", "").render(messages, [TOOL], add_generation_prompt=False))


def learned(template: str) -> ToolFormat:
    return learn_tools(TemplateRender(ChatTemplate(template, "", "")))


def turn(*arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = [
        {
            "type": "function",
            "id": f"abcdefgh{i}",
            "function": {"name": "get_weather", "arguments": dict(one)},
        }
        for i, one in enumerate(arguments)
    ]
    return [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "", "tool_calls": tuple(calls)},
    ]


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_format_is_learned_and_reads_what_the_template_writes(kind: str) -> None:
    spelled = learned(source(kind))
    assert spelled.kind == kind
    assert (spelled.offered, spelled.rendered, spelled.several) == (True, True, True)
    text = render(source(kind), turn(ARGUMENTS, {}, {"days": 0})).partition("hello")[2]
    found = read_calls(spelled, text, ParameterTypes([TOOL]))
    assert [json.loads(call.arguments) for call in found] == [ARGUMENTS, {}, {"days": 0}]
    calls = [("get_weather", {"city": "Rome", "days": 3}, "abcdefgh0"), ("get_weather", {}, "abcdefgh1")]
    written = written_calls(spelled, calls)
    text = render(source(kind), turn(*(call[1] for call in calls)))
    if kind != "tagged":
        assert written in text
    assert [call.name for call in read_calls(spelled, written, ParameterTypes())] == ["get_weather"] * 2


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{ raise_exception('no') }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
        "{{ '[' * 50000 }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
        "{{ '{' * 50000 }}{{ c.function.arguments }}{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000 }}{% for m in messages %}{{ m.content }}{{ m.tool_calls }}{% endfor %}",
    ],
)
def test_a_template_that_says_nothing_gets_the_usual_spelling(template: str) -> None:
    spelled = learned(template)
    assert (spelled.opens, spelled.call_close) == (HERMES.opens, HERMES.call_close)


def test_a_template_that_takes_short_ids_only_is_known() -> None:
    check = "{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}"
    refuse = "{{ raise_exception('nine') }}{% endif %}{% endfor %}{% endfor %}"
    assert learned(check + refuse + source("array")).short_ids
    assert not learned(source("array")).short_ids


def test_tools_are_described_where_the_template_leaves_them_out() -> None:
    spelled = learned("{% for m in messages %}{{ m.content }}{% endfor %}")
    results = {"role": "tool", "content": "sunny", "tool_call_id": "abcdefgh0"}
    turns = described([*turn({"city": "Rome"}), results], [TOOL], spelled)
    assert [one["role"] for one in turns] == ["system", "user", "assistant", "user"]
    assert '"name": "get_weather"' in turns[0]["content"]
    assert "<tool_call>\n" in turns[0]["content"]
    assert read_calls(spelled, turns[2]["content"], ParameterTypes())[0].arguments == '{"city": "Rome"}'
    assert "sunny" in turns[3]["content"]
    asked = described(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "x"}], [TOOL], spelled
    )
    assert asked[0]["content"].startswith("Be kind.\n\n")


def test_marks_are_not_cut() -> None:
    assert common_beginning("}\n</call>\n<call>", "}\n</calls>") == "}\n"
    assert common_end("<a><tool>", "<b><tool>") == "<tool>"
    assert common_end("x_id|>", "y_id|>") == ""
    assert openings("<calls>\n", '<invoke name="') == ("<calls>", '<invoke name="')
    assert openings("", "<call>\n<fn=") == ("<call>", "<fn=")
    assert openings("", "<sep>\n\nfunction call<role>\n") == ("<sep>\n\nfunction call<role>",)
