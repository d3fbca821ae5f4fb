"""Guides: what they allow, mask and force, and when only the end may follow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import numpy
import pytest
from guide_bench import GuideBench

from poolinfer._data.constraint import Constraint
from poolinfer._data.errors import EngineError, InvalidGrammar
from poolinfer._engine.guide.guide_grammar import grammar_of
from poolinfer._engine.guide.guides import Guides
from poolinfer.testing import FakeEngine

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "é", '"']}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_a_schema_is_held_to_letter_by_letter(bench: GuideBench) -> None:
    assert (
        bench.read(bench.of("json_schema", PERSON), '{"name": "Ada", "age": 36}')
        == '{"name": "Ada", "age": 36}'
    )
    assert (
        bench.read(bench.of("json_schema", PERSON), '{"name": "Ada", "age": 360}')
        == '{"name": "Ada", "age": 36'
    )
    assert bench.read(bench.of("json_schema", PERSON), '{"mane"') == '{"'
    assert bench.read(bench.of("json_schema", PERSON), "Sure! {") == ""


def test_an_answer_is_complete_when_only_the_end_may_follow(bench: GuideBench) -> None:
    guide = bench.of("json_schema", PERSON)
    bench.read(guide, '{"name": "Ada", "age": 36')
    assert not guide.complete
    assert not bench.ends(guide)
    bench.read(guide, "}")
    assert guide.complete


def test_an_end_is_allowed_only_where_the_grammar_may_end(bench: GuideBench) -> None:
    guide = bench.of("regex", "ab+")
    assert not bench.ends(guide)
    bench.read(guide, "a")
    assert not bench.ends(guide)
    bench.read(guide, "b")
    assert bench.ends(guide)
    assert not guide.complete


def test_a_mask_leaves_what_is_allowed_as_it_is(bench: GuideBench) -> None:
    row = numpy.arange(bench.engine.info.n_vocab, dtype="f4")
    bench.of("regex", "[xyz]1").mask(row)
    assert {i for i in range(len(row)) if row[i] > -numpy.inf} == {*b"xyz"}
    assert row[ord("x")] == ord("x")


def test_control_tokens_are_never_text(bench: GuideBench) -> None:
    guide = bench.of("regex", "(.|\n)*")
    for token in bench.engine.info.control_ids - {*bench.guides.vocabulary.ends}:
        assert not guide.allows(token)
    assert bench.read(guide, "<|im_start|>") == "<|im_start|>"


def test_what_every_answer_begins_with_is_forced(bench: GuideBench) -> None:
    guide = bench.of("json_schema", PERSON)
    assert bytes(guide.forced(100)) == b'{"name": "'
    assert bench.read(guide, 'Ada", "age": 3}') == 'Ada", "age": 3}'
    assert bytes(bench.of("json_schema", PERSON).forced(3)) == b'{"n'
    assert bench.of("json_schema", PERSON).forced(0) == []


def test_nothing_is_forced_in_which_a_stop_text_stands(bench: GuideBench) -> None:
    assert bench.of("json_schema", PERSON).forced(100, ("me",)) == []


def test_one_token_is_left_to_choose_of_an_answer_that_is_forced(bench: GuideBench) -> None:
    guide = bench.of("choices", ["only"])
    assert bytes(guide.forced(100)) == b"onl"
    assert not guide.complete


@pytest.mark.parametrize("seed", range(30))
def test_random_weights_answer_by_schema(bench: GuideBench, seed: int) -> None:
    said = bench.random_answer(bench.of("json_schema", PERSON), seed)
    assert said is not None
    jsonschema.validate(json.loads(said), PERSON)


@pytest.mark.parametrize("seed", range(20))
def test_random_weights_answer_by_expression_and_choice(bench: GuideBench, seed: int) -> None:
    said = bench.random_answer(bench.of("regex", r"([0-9]{3}-){1,2}[a-cé]+!"), seed)
    assert said is not None
    assert re.fullmatch(r"([0-9]{3}-){1,2}[a-cé]+!", said)
    texts = ["yes", "no", 'n"o\\\n\t\u0001', "日本"]
    assert bench.random_answer(bench.of("choices", texts), seed) in texts


@pytest.mark.parametrize("seed", range(10))
def test_random_weights_answer_by_grammar(bench: GuideBench, seed: int) -> None:
    grammar = 'start: item ("," item)~0..3\nitem: /[a-z]/ | "(" item ")"'
    said = bench.random_answer(bench.of("lark", grammar), seed)
    assert said is None or re.fullmatch(r"[a-z(),]+", said)
    assert said is None or said.count("(") == said.count(")")


def test_choices_are_texts_and_no_json(bench: GuideBench) -> None:
    for text in ("a", "ab", 'say "hi"\\n', "\u0000\u2028é"):
        guide = bench.of("choices", ["a", "ab", 'say "hi"\\n', "\u0000\u2028é"])
        assert bench.read(guide, text) == text
        assert bench.ends(guide)


def test_any_object_will_do(bench: GuideBench) -> None:
    guide = bench.of("json_object")
    assert bench.read(guide, '{"a": [1, {"b": null}]}') == '{"a": [1, {"b": null}]}'
    assert guide.complete
    assert bench.read(bench.of("json_object"), "[1]") == ""


def test_guides_of_one_grammar_know_nothing_of_each_other(bench: GuideBench) -> None:
    first, second = bench.of("regex", "ab"), bench.of("regex", "ab")
    assert bench.read(first, "a") == "a"
    assert bench.read(second, "ab") == "ab"
    assert bench.read(first, "b") == "b"


@pytest.mark.parametrize(
    ("kind", "text", "field", "said"),
    [
        ("regex", "(", "regex", "unclosed group"),
        ("regex", "(?=a)b", "regex", "look-around"),
        ("lark", 'first: "a"', "grammar", "no start rule"),
        ("lark", "start: %", "grammar", ""),
        ("json_schema", {"not": {"type": "string"}}, "response_format", "not"),
        ("json_schema", {"type": "string", "minLength": 3, "maxLength": 2}, "response_format", "minLength"),
        ("json_schema", False, "response_format", "false"),
    ],
)
def test_F49_what_is_no_grammar_is_refused_by_name(
    refused: Callable[..., InvalidGrammar], kind: str, text: Any, field: str, said: str
) -> None:
    error = refused(kind, text)
    assert error.field == field
    assert error.message.startswith(f"{field}: no answer can be held to it: ")
    assert said in error.message
    assert "\n" not in error.message
    assert len(error.message) < 400
    # A refusal is remembered, too.
    assert refused(kind, text).message == error.message


def test_what_cannot_be_enforced_is_ignored_where_the_caller_says_so(bench: GuideBench) -> None:
    schema = {"type": "array", "items": {"enum": [1]}, "maxItems": 1, "uniqueItems": True}
    with pytest.raises(InvalidGrammar, match="uniqueItems"):
        bench.of("json_schema", schema)
    assert bench.read(bench.of("json_schema", schema, strict=False), "[1]") == "[1]"


def test_a_token_that_is_not_allowed_ends_the_answer_with_an_error(bench: GuideBench) -> None:
    guide = bench.of("regex", "abc")
    bench.read(guide, "a")
    with pytest.raises(EngineError, match="regex: the answer cannot be held to it after 1 tokens"):
        guide.accept(ord("c"))


def test_a_text_without_a_tokenizer_that_knows_it_is_spelled_by_longest_tokens() -> None:
    class SpacedEngine(FakeEngine):
        """Puts a space before each text, as SentencePiece does."""

        def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
            return super().tokenize(" " + text, add_special=add_special, parse_special=parse_special)

    guide = Guides(SpacedEngine()).guide(grammar_of(Constraint("json_schema", json.dumps(PERSON))))
    assert bytes(guide.forced(100)) == b'{"name": "'
