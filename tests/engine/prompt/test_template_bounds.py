"""What a chat template's single operations and its compilation may cost."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from poolinfer._data.errors import CallCancelled, InvalidRequest, ModelError
from poolinfer._engine.prompt.chat_template import ChatTemplate

HI = [{"role": "user", "content": "hi"}]


def render(source: str, **options: Any) -> str:
    return ChatTemplate(source, "", "").render(HI, **options)


def stopped_soon(source: str) -> None:
    """Check that a rendering hears that its call was given up, and soon."""
    render("{{ messages | length }}")
    given_up = threading.Event()
    timer = threading.Timer(0.2, given_up.set)
    timer.start()
    started = time.thread_time()
    try:
        # Where a rendering costs too much, it may be refused before.
        with pytest.raises((CallCancelled, InvalidRequest)):
            render(source, stop=given_up.is_set)
    finally:
        timer.cancel()
        timer.join()
    assert time.thread_time() - started < 10


@pytest.mark.parametrize(
    "source",
    [
        "{{ range(5000) | map(attribute='a.' * 2000, default='') | list | length }}",
        "{{ range(3000) | map(attribute='0.' * 20000, default='') | list }}",
    ],
)
def test_F54_a_path_to_a_nested_item_is_paid_for(source: str) -> None:
    stopped_soon(source)


def test_paths_to_nested_items_go_as_deep_as_anyone_needs() -> None:
    source = "{% set x = " + "{'a': " * 50 + "7" + "}" * 50 + " %}{{ [x] | map(attribute='PATH') | first }}"
    assert render(source.replace("PATH", ".".join("a" * 50))) == "7"


RECURSIVE = (
    "{% for x in [-1] if x < 0 TESTS recursive %}"
    + "{{ loop(range(99999)) }}" * 20
    + "{{ 1 / 0 }}{% endfor %}"
)


@pytest.mark.parametrize(
    "source",
    [
        RECURSIVE.replace("TESTS", " and x < 0" * 50),
        RECURSIVE.replace("TESTS", ""),
        RECURSIVE.replace("TESTS", "").replace("loop(", "loop(iterable="),
    ],
)
def test_F54_items_that_a_recursive_loop_is_called_with_are_paid_for(source: str) -> None:
    spent = time.thread_time()
    with pytest.raises(InvalidRequest, match="too much"):
        render(source * 10)
    assert time.thread_time() - spent < 3


@pytest.mark.parametrize("call", ["f(*'x' * 300000)", "f(*('x' * 300000))", "'' | d(*('x' * 300000))"])
def test_F54_arguments_from_a_text_are_paid_for(call: str) -> None:
    with pytest.raises(InvalidRequest, match="too much"):
        render("{% macro f() %}{{ varargs | length }}{% endmacro %}{{ CALL }}".replace("CALL", call))


def test_arguments_from_lists_and_dicts_arrive() -> None:
    source = "{% macro f(a, b, c=0) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(*[1, 2], **{'c': 3}) }}"
    assert render(source) == "123"
    assert render("{{ 'abc' | replace(*['a', 'x']) }}") == "xbc"
    tree = "{% for x in [[1, [2]], [3]] if x recursive %}{% if x is number %}{{ x }}{% else %}{{ loop(x) }}"
    assert render(tree + "{% endif %}{% endfor %}") == "123"


@pytest.mark.parametrize(
    "source",
    [
        "hi{% if x %}{{ x" + "~x" * 12_000 + " }}{% endif %}",
        "hi{% if x %}{{ x" + "<x" * 12_000 + " }}{% endif %}",
        "hi" + "{{x}}" * 6_000,
        "hi" + "".join("{% macro m%d() %}{% endmacro %}".replace("%d", str(n)) for n in range(2_000)),
        "{% macro m(" + ",".join(f"a{n}" for n in range(9_000)) + ") %}{% endmacro %}",
    ],
)
def test_F54_a_template_that_takes_long_to_compile_is_refused(source: str) -> None:
    with pytest.raises(ModelError, match=r"chat template is not valid: it .* more than"):
        render(source)


def test_templates_may_be_several_times_as_large_as_those_of_models() -> None:
    part = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content ~ '!' }}{% endif %}{% endfor %}"
    assert render(part * 300) == "hi!" * 300
    assert render("x" * 120_000) == "x" * 120_000


@pytest.mark.parametrize(
    "expression",
    [
        "'x'.ljust(10000, left=600)",
        "'x'.rjust(10000, left=600)",
        "'x'.upper(change='x'.ljust)",
        "'x'.islower(question='x'.ljust)",
        "'x'.removeprefix('x', prefix=false)",
        "{'a': 1}.items(part=range)",
        "['x'] | max(pick=range)",
        "['x'] | select(wanted=1)",
        "'x' | upper(change='x'.ljust)",
    ],
)
def test_F54_a_template_cannot_set_what_a_method_or_a_filter_has_set(expression: str) -> None:
    with pytest.raises(InvalidRequest, match="multiple values"):
        render("{{ (EXPRESSION) | length }}".replace("EXPRESSION", expression))


@pytest.mark.parametrize(
    "expression",
    [
        "'%6000000d' is odd",
        "'%6000000d' is even",
        "'%6000000d' is divisibleby(3)",
        "6 is divisibleby('x')",
        "'%0000000006000000d' % 1",
        "'%-0000000006000000s' % 'a'",
        "'%.0000000006000000f' % 1",
        "'{:0000000006000000d}'.format(1)",
        "'{:0000000006000000}'.format('a')",
    ],
)
def test_F54_widths_that_are_hidden_in_formats_are_refused(expression: str) -> None:
    with pytest.raises(InvalidRequest, match="refused"):
        render("{{ EXPRESSION }}".replace("EXPRESSION", expression))


def test_odd_even_and_divisible_numbers() -> None:
    source = "{{ 3 is odd }}{{ 3 is even }}{{ 4.0 is even }}{{ 6 is divisibleby(3) }}{{ true is odd }}"
    assert render(source + "{{ '%05d' % 7 }}{{ '{:05d}'.format(7) }}") == "TrueFalseTrueTrueTrue0000700007"


@pytest.mark.parametrize(
    "expression",
    [
        "s is lower",
        "s is upper",
        "s | safe",
        "strftime_now('%c' * 500)",
        "'%09999d' % 1 == '{:09999d}'.format(1)",
    ],
)
def test_F54_operations_that_read_or_make_much_are_paid_for(expression: str) -> None:
    source = "{% set s = 'x' * 100000 %}{% for i in range(200) %}{% set y = EXPRESSION %}{% endfor %}"
    with pytest.raises(InvalidRequest, match="too much"):
        render(source.replace("EXPRESSION", expression) * 10)


def test_F54_title_pays_for_each_word() -> None:
    with pytest.raises(InvalidRequest, match="too much"):
        render("{{ ('a ' * 150000) | title | length }}")
    assert render("{{ ('a ' * 150000) | length }}") == "300000"
    assert render("{{ 'ab cd-ef' | title }}") == "Ab Cd-Ef"
