"""What an answer is held to: each option, all that is refused, and that only one of them may be given."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from guided import constraint, follows
from refusals import label, refusal

from poolinfer import Chat, InvalidGrammar, InvalidRequest, Raw
from poolinfer._checks.budgets import WorkBudget
from poolinfer._checks.constraints import constraint_of
from poolinfer._checks.limits import LIMITS
from poolinfer._checks.normalize import normalize, normalize_at_once
from poolinfer.executor import Constraint

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TEXT = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}'


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"response_format": SCHEMA}, "json_schema", TEXT),
        ({"response_format": {"type": "json_object"}}, "json_object", ""),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "json_schema", TEXT),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            "json_schema",
            TEXT,
        ),
        ({"response_format": int}, "json_schema", '{"type":"integer"}'),
        ({"response_format": {"anyOf": [{"type": "null"}]}}, "json_schema", '{"anyOf":[{"type":"null"}]}'),
        ({"response_format": {"$schema": "x", "minimum": 3}}, "json_schema", '{"$schema":"x","minimum":3}'),
        ({"regex": "[a-z]{3}"}, "regex", "[a-z]{3}"),
        ({"choices": ["yes", "nö"]}, "choices", '["yes", "nö"]'),
        ({"grammar": 'start: "a"'}, "lark", 'start: "a"'),
        ({"grammar": 'root ::= "ab"'}, "lark", 'start: ("a" "b")\n'),
    ],
)
@pytest.mark.parametrize("cls", [Chat, Raw])
def test_each_option_becomes_one_constraint(cls: Any, options: Any, kind: Any, text: str) -> None:
    found = normalize(cls("x", **options))
    assert found.constraint == Constraint(kind, text)
    assert (found.regex, found.choices, found.grammar) == (None, None, None)
    assert normalize(found) == found


def test_any_text_is_no_constraint() -> None:
    for nothing in (None, {"type": "text"}, {"type": "text", "json_schema": None}):
        found = normalize(Chat("x", response_format=nothing))
        assert isinstance(found, Chat)
        assert found.constraint is None
        assert found == normalize(Chat("x"))
    assert normalize(Chat("x", response_format={"type": "text"}, regex="a")) == normalize(
        Chat("x", regex="a")
    )


def test_strict_is_the_requests_or_the_formats() -> None:
    inner = {"name": "x", "schema": SCHEMA}
    openai = [
        {"type": "json_schema", "json_schema": {**inner, "strict": strict}} for strict in (None, True, False)
    ]
    assert [constraint(response_format=one).strict for one in openai] == [True, True, False]
    assert not any(constraint(response_format=one, strict=False).strict for one in (*openai, SCHEMA, int))
    assert constraint(response_format={"type": "array", "uniqueItems": True}, strict=False).strict is False


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"response_format": "json"}, "response_format", "use a type, a JSON schema"),
        ({"response_format": []}, "response_format", "use a type"),
        ({"response_format": 3}, "response_format", "use a type"),
        ({"response_format": {}}, "response_format", "use a type"),
        ({"response_format": object()}, "response_format", "use a type"),
        ({"response_format": {"name": "x", "schema": SCHEMA}}, "response_format", "use a type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "'name' and 'schema'"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema",
            "give 'schema'",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": 1}}},
            "response_format.json_schema.strict",
            "True or False",
        ),
        ({"response_format": {"type": "json_object", "x": 1}}, "response_format", "has the key 'x'"),
        ({"response_format": {"type": "json_object", "schema": 3}}, "response_format.schema", "JSON schema"),
        ({"response_format": {"type": "object", 3: 4}}, "response_format", "use a str"),
        ({"response_format": {"enum": [float("nan")]}}, "response_format", "finite"),
        ({"response_format": {"enum": ["\ud800"]}}, "response_format", "lone surrogate"),
        ({"regex": ""}, "regex", "give some text"),
        ({"regex": b"a"}, "regex", "use a str"),
        ({"choices": "yes"}, "choices", "use a list of str"),
        ({"choices": []}, "choices", "has 0 items"),
        ({"choices": ["a", ""]}, "choices[1]", "give some text"),
        ({"choices": ["a", 3]}, "choices[1]", "use a str"),
        ({"grammar": ""}, "grammar", "give some text"),
        ({"strict": 1}, "strict", "True or False"),
        ({"regex": "a", "choices": ["a"]}, "choices", "choices beside regex: .* leave out choices or regex"),
        ({"response_format": int, "grammar": 'start: "a"'}, "grammar", "grammar beside response_format"),
        ({"response_format": Constraint("xml", "a")}, "response_format.kind", "use 'json_schema'"),  # type: ignore[arg-type]
        ({"response_format": Constraint("json_schema", "[")}, "response_format.text", "valid JSON"),
        (
            {"response_format": Constraint("json_schema", '{"a":1,"a":2}')},
            "response_format.text",
            "duplicate keys",
        ),
        ({"response_format": Constraint("regex", "")}, "response_format.text", "give some text"),
        ({"response_format": Constraint("regex", "a", 1)}, "response_format.strict", "True or False"),  # type: ignore[arg-type]
    ],
    ids=label,
)
def test_F51_what_is_not_acceptable_is_named(options: Any, field: str, words: str) -> None:
    error = refusal(Chat("x", **options))
    assert error.field == field
    with pytest.raises(InvalidRequest, match=words):
        normalize(Chat("x", **options))


def test_a_forced_tool_and_a_constraint_are_refused_together() -> None:
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        options = {"strict": True, "tool_choice": choice}
        with pytest.raises(InvalidRequest, match=r"beside tool_choice: .* use tool_choice='auto'") as caught:
            constraint_of(Chat("x", regex="a"), options, WorkBudget())
        assert caught.value.field == "regex"
    tool = {"type": "function", "function": {"name": "f"}}
    assert normalize(Chat("x", regex="a", tools=[tool])).constraint == Constraint("regex", "a")  # type: ignore[union-attr]


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"response_format": deep(2_000)}, "nested too deeply: use at most 64 levels"),
        ({"response_format": {"enum": [f"value {i}" for i in range(20_000)]}}, "131,072 bytes"),
        ({"response_format": {"enum": [0] * 100_000}}, "65,536 items"),
        ({"response_format": {"const": "x" * 1_000_000}}, "131,072 bytes"),
        ({"regex": "a" * 1_000_000}, "65,536 bytes"),
        ({"grammar": 'start: "' + "a" * 1_000_000 + '"'}, "65,536 bytes"),
        ({"choices": ["a"] * 30_001}, "from 1 to 30,000"),
        ({"choices": ["x" * 1000] * 2_000}, "1,048,576 bytes"),
    ],
    ids=label,
)
def test_F51_large_ones_are_refused_at_once(options: Any, words: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidRequest, match=words):
        normalize(Chat("x", **options))
    assert time.thread_time() - began < 1


def test_a_schema_as_deep_as_it_may_be_passes() -> None:
    assert constraint(response_format=deep(62)).kind == "json_schema"
    assert follows("[" * 62 + '"a"' + "]" * 62, response_format=deep(62))


def test_large_ones_are_checked_outside_an_event_loop() -> None:
    for options in ({"regex": "a{2}" * 4_000}, {"grammar": "root ::= " + '"a"' * 4_000}):
        checked, whole = normalize_at_once(Raw("x", **options))  # type: ignore[arg-type]
        assert not whole
        assert normalize(checked) == normalize(Raw("x", **options))  # type: ignore[arg-type]
    texts = [f"choice {i}" for i in range(20_000)]
    request = Chat("x", choices=texts)
    checked, whole = normalize_at_once(request)
    assert not whole
    assert isinstance(checked, Chat)
    assert checked.constraint is None
    texts.append("later")
    found = normalize(checked)
    assert isinstance(found, Chat)
    assert found.constraint is not None
    assert len(json.loads(found.constraint.text)) == 20_000


def test_F51_regexes_that_count_too_far() -> None:
    for text in (
        "(a{1000}){1000}",
        "((a{100}){100}){100}",
        "a{300000}",
        "(ab|(c{600}){600}){2}",
        "(" * 201 + "a" + ")" * 201,
    ):
        error = refusal(Raw("x", regex=text))
        assert isinstance(error, InvalidGrammar)
        assert error.field == "regex"
    most = int(LIMITS["regex_length"].high)
    for text in (
        f"a{{{most}}}",
        "(.{1,100}\n){1,100}",
        r"\(a{9}[]a{999999999}][[a]{9}]",
        "a{,3}",
        "(a|b)+{",
        "[^]]{5}",
        "(((",
    ):
        assert constraint(regex=text).text == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b", "give a rule 'start:'"),
        ('start: "a\0"', "NUL"),
        ("start: " + "(" * 201 + '"a"' + ")" * 201, "at most 200 groups"),
        ('start: "a"\n' + "".join(f'r{i}: "a"\n' for i in range(2000)), "from 1 to 2,000"),
    ],
    ids=label,
)
def test_F50_grammars_in_lark(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        normalize(Raw("x", grammar=text))


def test_a_grammar_in_lark_is_left_as_it_is() -> None:
    text = 'start: greeting " " NAME // (((\ngreeting: "hi" | "(" | /[(]+/\nNAME: /[a-z]+/'
    assert constraint(grammar=text).text == text
    assert follows("hi bob", grammar=text)
    assert follows("(( bob", grammar=text)
    assert not follows("hi 3", grammar=text)


def test_held_answers_are_whole() -> None:
    assert follows("yes", choices=["yes", "no"])
    assert not follows("ye", choices=["yes", "no"])
    assert not follows("yes!", choices=["yes", "no"])
    assert follows("aab", regex="a+b")
    assert not follows("aabc", regex="a+b")
    assert follows('{"a": 1}', response_format={"type": "json_object"})
    assert not follows("[1]", response_format={"type": "json_object"})


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"regex": "a?" * 8000}, "regex"),
        ({"regex": "(a|)" * 8000}, "regex"),
        ({"regex": ".{0,1}" * 4000}, "regex"),
        ({"grammar": "start: A\nA: " + '"a"? ' * 8000}, "grammar"),
        ({"response_format": {"type": "string", "pattern": "a*" * 8000}}, "response_format.pattern"),
        ({"choices": ["x" * 20_000]}, "choices[0]"),
    ],
)
def test_F50_what_takes_long_to_compile_is_refused_before_an_engine_sees_it(options, field) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalize(Raw("x", **options))
    assert caught.value.field == field
