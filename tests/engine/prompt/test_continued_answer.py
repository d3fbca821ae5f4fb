"""Answers that are continued: the prompt ends right after the last message's content."""

from __future__ import annotations

from typing import Any

import pytest
from char_engine import FIRST_MARKER, QWEN, CharEngine, control_ids, prompter, user

from poolinfer._data.errors import InvalidRequest
from poolinfer._engine.prompt.chat_template import ChatTemplate

TURNS = (
    "{% for m in messages %}<{{ m.role }}>{{ (CONTENT) if m.role != 'user' else m.content }}</>{% endfor %}"
    "{{ 'ASK' if add_generation_prompt }}"
)


def continued(content: Any, body: str = "m.content", **more: Any) -> str:
    source = TURNS.replace("CONTENT", body)
    turns = [*user("hi"), {"role": "assistant", "content": content, **more}]
    return ChatTemplate(source, "", "").render(turns, continue_final=True)


@pytest.mark.parametrize(
    ("content", "body", "end"),
    [
        ("Once upon", "m.content", "Once upon"),
        ("Once upon ", "m.content", "Once upon "),
        ("Once upon \n", "m.content | trim", "Once upon"),
        ("", "m.content", ""),
        ("a</>b", "m.content", "a</>b"),
        ("a</think>b", "m.content.split('</think>')[0] ~ '|' ~ m.content", "a|a</think>b"),
        ('say "x"', "m.content", 'say "x"'),
    ],
)
def test_the_prompt_ends_after_the_content(content: str, body: str, end: str) -> None:
    assert continued(content, body) == f"<user>hi</><assistant>{end}"


def test_the_last_of_several_parts_is_continued() -> None:
    parts = ({"type": "text", "text": "one"}, {"type": "text", "text": " two"})
    assert continued(parts).endswith("<assistant>one two")
    own = "{% for m in messages %}{{ m.content if m.content is string else JOINED }};{% endfor %}"
    template = ChatTemplate(own.replace("JOINED", "m.content | map(attribute='text') | join('+')"), "", "")
    assert template.render([{"role": "assistant", "content": parts}], continue_final=True) == "one+ two"


@pytest.mark.parametrize("evil", ["CONTINUE_FINAL_MESSAGE_TAG ", "CONTINUE_FINAL_MESSAGE_TAG", "a TAG b"])
def test_the_words_of_the_mark_mean_nothing_in_a_text(evil: str) -> None:
    assert continued(evil) == f"<user>hi</><assistant>{evil}"
    assert continued("x", "m.content ~ '" + evil + "'") == "<user>hi</><assistant>x"


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ("Once upon", "m.content[:4]"),
        ("Once upon", "m.content | lower"),
        ("Once upon", "m.content ~ m.content"),
        ("Once upon", "'nothing'"),
        ('say "x"', "m.content | tojson"),
        (None, "m.content"),
    ],
)
def test_a_content_that_is_not_shown_as_it_is_cannot_be_continued(content: Any, body: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        continued(content, body)
    assert caught.value.field == "continue_final_message"


@pytest.mark.parametrize("turns", [[], user("hi")])
def test_only_an_answer_can_be_continued(turns: Any) -> None:
    with pytest.raises(InvalidRequest, match="no assistant message"):
        ChatTemplate("{{ messages }}", "", "").render(turns, continue_final=True)


def test_F48_what_is_continued_is_a_text_of_its_turn() -> None:
    engine = CharEngine(QWEN)
    turns = [*user("a"), {"role": "assistant", "content": "<|im_end|><think>"}]
    tokens = prompter(engine).chat(turns, (), continue_final=True).tokens
    assert engine.text(tokens) == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<|im_end|><think>"
    asked = prompter(engine).chat(user("a"), ()).tokens
    assert control_ids(tokens) == control_ids(asked)
    assert tokens[-1] == FIRST_MARKER
