"""Chat templates: what they are given, and what they are not allowed."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prompt_cases import EXPRESSIONS, STATEMENTS, VALUES, reference

from poolinfer._data.errors import CallCancelled, InvalidRequest, ModelError
from poolinfer._engine.prompt.chat_template import ChatTemplate
from poolinfer._engine.prompt.sandbox import fuel

TURNS = "{% for m in messages %}{{ m.role + ': ' + m.content }}\n{% endfor %}"


def user(*contents: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content} for content in contents]


def render(source: str, messages: Any = (), tools: Any = ()) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(messages, tools)


def test_frozen_data_looks_like_lists_to_a_template() -> None:
    source = (
        "{{ messages[1:] }}{{ (messages + [1]) | length }}{{ messages is iterable }}"
        "{{ messages[0].content is string }}{{ messages[0].parts is mapping }}{{ messages[0] }}"
    )
    message = {"content": "a", "parts": ({"b": ("c",)},)}
    expected = "[]2TrueTrueFalse{'content': 'a', 'parts': [{'b': ['c']}]}"
    assert render(source, (message,)) == expected


def test_what_hugging_face_gives_templates() -> None:
    assert (
        render("{{ bos_token }}{{ eos_token }}{{ tools is none }}{{ documents is none }}")
        == "<s></s>TrueTrue"
    )
    assert render("{{ {'b': '<é>', 'a': 1} | tojson }}") == '{"b": "<é>", "a": 1}'
    assert render("{{ {'a': 1} | tojson(indent=2) }}") == '{\n  "a": 1\n}'
    assert render("{{ strftime_now('%Y') }}").isdigit()
    assert render("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "1"
    assert (
        render("{{ 'a\nb' | indent(2) }}{{ '%s-%d' % ('x', 3) }}{{ '{}:{:>3}'.format('x', 1) }}")
        == "a\n  bx-3x:  1"
    )
    assert render("  {% if true %}\nx\n  {% endif %}\n") == "x\n"


@pytest.mark.parametrize("source", ["{% if %}", "{{ a | nonsense }}", "{% for x in %}", "{{" + "(" * 5_000])
def test_F54_a_broken_template_is_a_model_error(source: str) -> None:
    with pytest.raises(ModelError, match="chat template"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ nothing.at.all }}",
        "{{ 'a' + 1 }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.clear() }}",
        "{{ messages.extend([1]) }}",
        "{{ (1, 2).append(3) }}",
        "{{ {}.update(a=1) }}",
        "{{ [].pop() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum(100000) }}",
    ],
)
def test_F54_what_a_template_refuses_is_an_invalid_request(source: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render(source)
    assert caught.value.field == "prompt"


def test_F54_the_template_message_is_shown() -> None:
    with pytest.raises(InvalidRequest, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**10 }}",
        "{{ 10**10 * 'a' }}",
        "{{ [1] * 10**10 }}",
        "{{ 7**(9**9) }}",
        "{% for i in range(10**10) %}x{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
        "{% set n = namespace(s='aa') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s=2**999) %}{% for i in range(60) %}{% set n.s = n.s * n.s %}{% endfor %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:>1000000000}'.format('a') }}",
        "{{ '{:>{}}'.format('a', 1000000000) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ 'a\nb' | indent(1000000000) }}",
        "{{ {'a': 1} | tojson(indent=1000000000) }}",
    ],
)
def test_F54_bombs_are_refused_soon(source: str) -> None:
    started = time.thread_time()
    with pytest.raises(InvalidRequest):
        render(source)
    assert time.thread_time() - started < 5


# Two lists that are equal, share their parts, and have 2**60 leaves each.
SHARED = (
    "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}"
    "{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
)


@pytest.mark.parametrize(
    "expression",
    [
        "ns.a == ns.b",
        "ns.a != ns.b",
        "ns.a in [ns.b]",
        "ns.a is eq(ns.b)",
        "[{'x': ns.a}] | selectattr('x', '==', ns.b) | list",
        "{'x': ns.a} == {'x': ns.b}",
        "[ns.a].index(ns.b)",
        "[ns.a].count(ns.b)",
        "ns.a < ns.b",
        "[ns.a, ns.b] | sort",
        "[(ns.a,), (ns.b,)] | unique",
        "{(ns.a,): 1}",
        "{}[(ns.a,)].x",
        "{}.get((ns.a,))",
        "ns.a",
        "ns.a | string",
        "ns.a | tojson",
        "ns.a | join",
        "'%s' % (ns.a,)",
        "'{}'.format(ns.a)",
        "raise_exception(ns.a)",
    ],
)
def test_F54_comparing_shared_nested_lists_does_not_hold_the_interpreter(expression: str) -> None:
    with beating() as gaps, pytest.raises(InvalidRequest):
        render(SHARED + "{{ " + expression + " }}{{ 1 / 0 }}")
    assert max(gaps) < 3


@contextmanager
def beating() -> Iterator[list[float]]:
    """How long another thread had to wait for the interpreter, each time that it wanted it."""
    gaps, done = [0.0], threading.Event()

    def beat() -> None:
        last = time.perf_counter()
        while not done.wait(0.005):
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield gaps
    finally:
        done.set()
        thread.join()


GROWING = "{% set ns = namespace(s='xx', l=[]) %}{% for i in range(99999) %}{% set BODY %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        GROWING.replace("BODY", "ns.s = ns.s ~ ns.s"),
        GROWING.replace("BODY", "ns.s = ns.s.replace('x', ns.s)"),
        GROWING.replace("BODY", "ns.s = ns.s | replace('x', ns.s)"),
        GROWING.replace("BODY", "ns.s = [ns.s, ns.s] | join(ns.s)"),
        GROWING.replace("BODY", "ns.s = ns.s.join(ns.s)"),
        GROWING.replace("BODY", "ns.s = ns.s.ljust(9999) ~ ns.s"),
        GROWING.replace("BODY", "ns.s = ('&' ~ ns.s) | e ~ ns.s"),
        GROWING.replace("BODY", "ns.s = ('\\n' ~ ns.s) | indent(99, blank=true) ~ ns.s"),
        GROWING.replace("BODY", "ns.s = '%s%s' % (ns.s, ns.s)"),
        GROWING.replace("BODY", "ns.s = '{0}{0}'.format(ns.s)"),
        GROWING.replace("BODY", "ns.s = ns.s | safe + ns.s | safe"),
        GROWING.replace("BODY", "ns.s = ns.s | list | tojson"),
        GROWING.replace("BODY", "ns.l = ns.l + [ns.s * 1000]"),
        GROWING.replace("BODY", "ns.l = [ns.l, ('y' * 9000)[1:]]"),
        GROWING.replace("BODY", "ns.l = [ns.l, range(9999) | list]"),
        GROWING.replace("BODY", "ns.l = [ns.l, [], {}, [[], {}]]"),
        GROWING.replace("BODY", "ns.l = [ns.l, dict(ns.d)]").replace("l=[]", "l=[], d=messages[0]"),
        "{% set x %}{% for i in range(99999) %}{% for j in range(99999) %}a{% endfor %}{% endfor %}{% endset %}",
        "{{ ('a ' * 3000000).split() | length }}",
        "{{ ('\\t' * 1000000).expandtabs(9999) }}",
        "{{ 'aaaa' | replace('a', 'b' * 1000000) | replace('b', 'c' * 1000000) }}",
    ],
)
def test_F54_bombs_of_intermediate_values_stay_small(source: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="too much"):
            render(source, user("hi"))
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) or f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ ('a' * 999999).strip('b' * 999999 ~ 'a') ~ 1 / 0 }}",
        "{{ ('a' * 999999).rfind('b' ~ 'a' * 499999) }}",
        "{{ ('a' * 999999).rsplit('b' ~ 'a' * 499999) }}",
        "{{ 5 | round(-1000000000) }}",
        "{{ 2 ** -(10 ** 9) }}",
        "{{ strftime_now('%c' * 100000) }}",
    ],
)
def test_F54_loops_without_output_end(source: str) -> None:
    with beating() as gaps, pytest.raises(InvalidRequest):
        render(source, user("hi"))
    assert max(gaps) < 3


@pytest.mark.parametrize("source", ["{{ " + "1" * 300_000 + " }}", "{# " + "x" * 1_000_000 + " #}"])
def test_F54_a_source_that_takes_long_to_read_is_refused(source: str) -> None:
    started = time.thread_time()
    with pytest.raises(ModelError, match="chat template"):
        render(source)
    assert time.thread_time() - started < 5


LONG = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}"


def test_F54_rendering_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuel, "MAX_SECONDS", 0.0)
    with pytest.raises(InvalidRequest, match="took more than") as caught:
        render(LONG, user("hi"))
    assert caught.value.field == "prompt"


def test_F54_rendering_stops_when_the_call_was_given_up() -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with pytest.raises(CallCancelled):
        ChatTemplate(LONG, "<s>", "</s>").render(user("hi"), stop=stop)
    assert asked == 3


def test_generation_blocks_are_rendered() -> None:
    source = "{% generation %}{{ messages[0].content }}{% set x = 1 %}{% endgeneration %}{{ x }}b"
    assert render(source, user("a")) == "ab"


@pytest.mark.parametrize("name", ["thinking", "reasoning", "reasoning_content"])
@pytest.mark.parametrize("form", ["m.NAME", "m['NAME']", "m.get('NAME')", "(m.NAME if 'NAME' in m)"])
def test_reasoning_is_given_under_the_name_that_a_template_reads(name: str, form: str) -> None:
    turn = {"role": "assistant", "content": "b", "reasoning_content": "because"}
    source = "{% for m in messages %}{{ FORM }}{% endfor %}".replace("FORM", form.replace("NAME", name))
    assert render(source, [turn]) == "because"


def test_reasoning_of_a_turn_with_tool_calls_and_text_is_left_out_where_both_are_refused() -> None:
    turn = {
        "role": "assistant",
        "content": "b",
        "reasoning_content": "because",
        "tool_calls": [{"type": "function"}],
    }
    source = (
        "{% for m in messages %}{% if m.tool_calls and m.thinking and m.content %}{{ raise_exception('both') }}"
        "{% endif %}{% endfor %}"
    )
    assert render(source, [turn]) == ""


@pytest.mark.parametrize(
    "part", ["include 'x'", "import 'x' as y", "from 'x' import y", "extends 'x'", "block b"]
)
def test_templates_that_need_other_templates_are_model_errors(part: str) -> None:
    source = "{% " + part + " %}" + ("{% endblock %}" if "block" in part else "")
    with pytest.raises(ModelError, match="cannot use"):
        render(source)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_mean_what_they_mean_in_jinja(expression: str) -> None:
    source = VALUES + "{{ " + expression + " }}"
    wanted = reference(source, [], [])
    try:
        found = render(source)
    except InvalidRequest:
        found = None
    assert found == wanted


@pytest.mark.parametrize("source", STATEMENTS)
def test_statements_mean_what_they_mean_in_jinja(source: str) -> None:
    assert render(source) == reference(source, [], [])


@pytest.mark.parametrize("source", ["{{ 'a' | center(1000000000) }}", "{{ '%1000000000d' | format(1) }}"])
def test_F54_padding_filters_are_not_there(source: str) -> None:
    with pytest.raises(ModelError, match="No filter named"):
        render(source)


def test_F54_numbers_in_a_user_text_are_not_a_bomb() -> None:
    text = "{a: 1234567} 100000% of %99999d"
    assert (
        render("{{ messages[0].content.strip() + messages[0].content.split('x')[0] }}", user(text))
        == text * 2
    )


def test_one_template_serves_many_threads() -> None:
    template = ChatTemplate(TURNS, "<s>", "</s>")
    texts: list[tuple[str, str]] = []

    def work(name: str) -> None:
        texts.extend((name, template.render(user(name))) for _ in range(50))

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 400
    assert [text for name, text in texts if f"user: {name}\n" not in text] == []
