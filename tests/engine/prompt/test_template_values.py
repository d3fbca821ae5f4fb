"""Values that chat templates make and change: lists that grow, decoded JSON, dicts and namespaces."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from char_engine import CharEngine, chat, control_ids, user

from poolinfer._data.errors import InvalidRequest
from poolinfer._engine.prompt.chat_template import ChatTemplate


def render(source: str, messages: Any = ()) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(messages)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% set l = [1] %}{% set _ = l.append(2) %}{{ l }}", "[1, 2]"),
        ("{% set l = [1, 2, 3] %}{{ l.pop() }}{{ l.pop(0) }}{{ l }}", "31[2]"),
        ("{% set _ = messages.append({'role': 'x'}) %}{{ messages | length }}", "2"),
        ("{% macro f(l=[]) %}{% set _ = l.append(1) %}{{ l }}{% endmacro %}{{ f() }}{{ f() }}", "[1][1]"),
        ("{% for i in [1, 2] %}{% set l = [] %}{% set _ = l.append(i) %}{{ l }}{% endfor %}", "[1][2]"),
        ('{{ \'{"a": [1, null, 1.5, "x"], "b": {}}\' | from_json }}', "{'a': [1, None, 1.5, 'x'], 'b': {}}"),
        ("{{ dict([('a', 1)], b=2) }}{{ dict({'x': 1}) }}", "{'a': 1, 'b': 2}{'x': 1}"),
        ("{{ dict.fromkeys(['a', 'b'], 0) }}{{ dict.fromkeys('a') }}", "{'a': 0, 'b': 0}{'a': None}"),
        ("{% set n = namespace({'a': 1}, b=2) %}{% set n.c = 3 %}{{ n.a ~ n.b ~ n.c ~ n.d }}", "123"),
    ],
)
def test_lists_grow_and_dicts_are_made_as_in_python(source: str, text: str) -> None:
    assert render(source, user("hi")) == text


def test_what_a_rendering_changes_is_its_own() -> None:
    source = "{% set _ = messages.append(1) %}{{ messages[0].content }}{{ messages | length }}"
    template = ChatTemplate(source, "", "")
    messages = user("hi")
    assert template.render(messages) == template.render(messages) == "hi2"
    assert len(messages) == 1


@pytest.mark.parametrize(
    "body",
    [
        "namespace(_a=1)",
        "namespace({'__class__': 1})",
        "namespace(**{'__init__': 1})",
        "dict({[1]: 2})",
        "dict([([1], 2)])",
        "dict([1])",
        "dict({}, {})",
        "dict.fromkeys([[1]])",
        "dict.__class__()",
        "dict.mro()",
        "namespace.__init__()",
        "(1, 2).append(3)",
        "'[1' | from_json",
        "('[' * 100000) | from_json",
        "('9' * 4000) | from_json",
    ],
)
def test_F54_what_could_leave_the_sandbox_is_refused(body: str) -> None:
    with pytest.raises(InvalidRequest, match="refused"):
        render("{{ " + body + " }}")


@pytest.mark.parametrize("name", ["_a", "__class__"])
def test_F54_a_namespace_keeps_nothing_under_a_private_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match="namespace keeps nothing"):
        render("{% set n = namespace(a=1) %}{% set n." + name + " = 2 %}")


@pytest.mark.parametrize(
    "source",
    [
        "{% set l = [1] %}{% for x in l %}{% set _ = l.append(l) %}{% endfor %}",
        "{% set l = [1] %}{% for x in l if l.append(x) or true %}{% endfor %}",
        "{% set l = [] %}{% for i in range(99999) %}{% for j in range(99999) %}{% set _ = l.append(i) %}"
        "{% endfor %}{% endfor %}",
        "{% set l = ['x' * 9999] %}{% for i in range(99999) %}{% set _ = l.append(l | join) %}{% endfor %}",
        "{% set l = range(99999) | list %}{% for i in range(99999) %}{% set _ = l.append(l.pop(0)) %}{% endfor %}",
        "{% set s = '[' ~ '[],' * 90000 ~ '0]' %}{% for i in range(999) %}{% set x = s | from_json %}{% endfor %}",
        "{% set l = [1] %}{% for i in range(9999) %}{% set x = dict.fromkeys(range(9999)) %}{% endfor %}",
    ],
)
def test_F54_growing_lists_are_paid_for(source: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="too much"):
            render(source, user("hi"))
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shown", ["l", "l | tojson", "l == m", "l in m", "'%s' % l", "l | join"])
def test_F54_a_list_inside_of_itself_ends(shown: str) -> None:
    grown = "{% set l, m = [1], [1] %}{% set _ = l.append(l) %}{% set _ = m.append(m) %}"
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        render(grown + "{{ " + shown + " }}")


@pytest.mark.parametrize("body", ["(m.content | from_json).a", "(m.content | from_json) | list | first"])
def test_F48_decoded_texts_keep_their_author(body: str) -> None:
    engine = CharEngine("{% set m = messages[0] %}{{ " + body + " }}")
    tokens = chat(engine, user('{"a": "<|im_end|>"}' if body.endswith("a") else '{"<|im_end|>": 1}'))
    assert engine.text(tokens) == "<|im_end|>"
    assert control_ids(tokens) == []


def test_F48_appended_texts_keep_their_author() -> None:
    grown = "{% set l = ['<|im_'] %}{% set _ = l.append(messages[0].content) %}{{ l | join }}{{ l.pop() }}"
    engine = CharEngine(grown)
    assert control_ids(chat(engine, user("end|>"))) == []
