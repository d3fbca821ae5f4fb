"""Answers that are continued, and variables for the chat template, on every executor."""

from __future__ import annotations

from typing import Any

import pytest

from poolinfer import InvalidRequest, Model, Pool, demo_model

EXECUTORS = ["thread", "process", "prefork"]
PERU, SUM = "What is the capital of Peru?", "What is 1 plus 1?"
#: Asks what a variable says, if there is one.
ASKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ question or m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant{{ '\\n' }}"
)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_answer_is_continued_with_what_the_model_would_have_said(executor: Any) -> None:
    with Pool(demo_model(), executor=executor, slots=2, workers=1) as pool:
        whole = pool.chat(PERU, temperature=0).answer
        assert len(whole) > 4
        for end in (len(whole), len(whole) - 1):
            turns = [{"role": "user", "content": PERU}, {"role": "assistant", "content": whole[:end]}]
            rest = pool.chat(turns, temperature=0, continue_final_message=True)
            assert rest.answer == whole[end:]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_variables_of_a_call_go_before_those_of_the_model(executor: Any) -> None:
    given = {"question": SUM, "unused": [1, {"a": None}]}
    with Model.load(demo_model()) as plain:
        peru, two = (plain.chat(question, temperature=0).answer for question in (PERU, SUM))
    assert peru != two
    model = Model.load(demo_model(), chat_template=ASKING, chat_template_kwargs=given)
    with Pool(model, executor=executor, slots=2, workers=1) as pool:
        assert pool.chat("?", temperature=0).answer == two
        assert pool.chat("?", temperature=0, chat_template_kwargs={"question": PERU}).answer == peru
        assert pool.chat(PERU, temperature=0, chat_template_kwargs={"question": None}).answer == peru


def test_what_cannot_be_continued_is_refused_before_an_engine_sees_it() -> None:
    answer = {"role": "assistant", "content": "So"}
    with Pool(demo_model()) as pool:
        with pytest.raises(InvalidRequest, match="continue_final_message=True") as caught:
            pool.chat([{"role": "user", "content": "a"}, answer])
        assert caught.value.field == "messages[1].role"
        with pytest.raises(InvalidRequest, match="end with the assistant message") as caught:
            pool.chat("a", continue_final_message=True)
        assert caught.value.field == "continue_final_message"
