"""Chat templates: what they are given, and what they are not allowed."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from poolinfer._engine.template import ChatTemplate
from poolinfer._errors import InvalidRequest, ModelError

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
        "{{ messages.append(1) }}",
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
    started = time.perf_counter()
    with pytest.raises(InvalidRequest):
        render(source)
    assert time.perf_counter() - started < 5


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
