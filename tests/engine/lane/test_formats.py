"""Formats in a lane: control tokens that mark, reasoning that is switched, counted and ended, calls of tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from poolinfer import InvalidRequest, Response
from poolinfer.testing import FakeEngine, fake_pool

#: A model of our own: marks are control tokens, `thinks` switches reasoning, and <|over|> also ends generations.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<|why|>{{ m.reasoning_content }}<|so|>\n{% endif %}{{ m.content }}"
    "{% if m.tool_calls %}[CALLS][{% for c in m.tool_calls %}"
    '{"name": {{ c.function.name | tojson }}, "arguments": {{ c.function.arguments | tojson }}}'
    "{{ ', ' if not loop.last }}{% endfor %}]{% endif %}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking %}<|why|>{% elif enable_thinking is defined %}<|why|><|so|>{% endif %}{% endif %}"
)
CONTROL = ("<|im_start|>", "<|why|>", "<|so|>", "[CALLS]", "<|im_end|>")
START, WHY, SO, CALLS, END = range(256, 261)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


class Scripted(FakeEngine):
    """Says what it is told, tokens and texts, unless a lane decides otherwise."""

    def __init__(self, *said: int | str, also_ends: int = END, template: str = TEMPLATE) -> None:
        super().__init__(chat_template=template, control=CONTROL, markers=())
        self._said: list[int] = []
        for each in said:
            self._said += [each] if isinstance(each, int) else each.encode()
        self._ends = {also_ends, END}

    def is_end(self, token: int) -> bool:
        return token in self._ends

    def answer(self, prompt: list[int], index: int) -> int:
        return self._said[index] if index < len(self._said) else END


def ask(engine: FakeEngine, **options: Any) -> Response:
    """The response of a stream, whose chunks are known to be its parts."""
    with fake_pool(engine, slots=2) as pool, pool.stream("hello", **options) as call:
        chunks = list(call)
        response = call.result()
    for name in ("text", "answer", "reasoning"):
        assert "".join(getattr(chunk, name) for chunk in chunks) == getattr(response, name)
    parts = [part for chunk in chunks for part in chunk.tool_calls]
    for n, found in enumerate(response.tool_calls):
        mine = [part for part in parts if part.index == n]
        joined = ["".join(getattr(part, key) for part in mine) for key in ("id", "name", "arguments")]
        assert joined == [found.id, found.name, found.arguments]
    return response


def calls(response: Response) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in response.tool_calls]


def test_control_tokens_mark_reasoning_and_are_no_text() -> None:
    response = ask(Scripted(WHY, "why", SO, "\nso"))
    assert (response.answer, response.reasoning) == ("so", "why")
    assert response.text == "why\nso"
    assert response.usage.reasoning_tokens == 5
    assert response.finish_reason == "stop"


def test_a_text_that_spells_a_control_token_marks_nothing() -> None:
    text = '<|why|>no<|so|> [CALLS][{"name": "f", "arguments": {}}]'
    response = ask(Scripted(text), tools=[TOOL])
    assert (response.answer, response.reasoning, response.tool_calls) == (text, "", ())


def test_calls_after_a_control_token_stream() -> None:
    section = '[{"name": "f", "arguments": {"a": "é"}}, {"name": "f", "arguments": {}}]'
    response = ask(Scripted("Well. ", CALLS, section), tools=[TOOL])
    assert (response.answer, response.finish_reason) == ("Well.", "tool_calls")
    assert calls(response) == [("f", '{"a": "é"}'), ("f", "{}")]
    assert len({call.id for call in response.tool_calls}) == 2


def test_marks_of_calls_vanish_where_no_tools_are_offered() -> None:
    assert ask(Scripted("a", CALLS, "b")).answer == "ab"


def test_parallel_tool_calls_can_be_refused() -> None:
    section = '[{"name": "f", "arguments": {}}, {"name": "f", "arguments": {}}] and more'
    response = ask(Scripted(CALLS, section), tools=[TOOL], parallel_tool_calls=False)
    assert (calls(response), response.finish_reason) == ([("f", "{}")], "tool_calls")
    assert "more" not in response.text


def test_a_token_that_ends_generations_may_end_reasoning_only() -> None:
    response = ask(Scripted(WHY, "why", SO, "so", also_ends=SO))
    assert (response.answer, response.reasoning) == ("so", "why")
    assert ask(Scripted("so", SO, "more", also_ends=SO)).answer == "so"


# --- the switch ---------------------------------------------------------------------------------


def test_reasoning_is_switched_through_the_template() -> None:
    assert ask(Scripted("why", SO, "so"), reasoning=True).reasoning == "why"
    response = ask(Scripted("so"), reasoning=False)
    assert (response.answer, response.reasoning) == ("so", "")


def test_variables_of_a_call_go_before_its_switch() -> None:
    engine = Scripted("why", SO, "so")
    options = {"chat_template_kwargs": {"enable_thinking": True}, "reasoning": False}
    assert ask(engine, **options).reasoning == "why"


def refusal(engine: FakeEngine, reasoning: object) -> str:
    with fake_pool(engine) as pool, pytest.raises(InvalidRequest) as caught:
        pool.chat("hello", reasoning=reasoning)
    assert caught.value.field == "reasoning"
    return str(caught.value)


def test_settings_that_a_template_lacks_are_refused() -> None:
    assert "use True, False, or leave it out" in refusal(Scripted(), "high")
    assert "knows no reasoning" in refusal(FakeEngine(), True)
    assert "use True, False, 'low'" in refusal(FakeEngine(), "most")


def test_reasoning_that_cannot_be_switched_off_is_bounded_instead() -> None:
    template = TEMPLATE.replace("enable_thinking", "no_such_name")
    engine = FakeEngine(chat_template=template, control=CONTROL, markers=())
    assert "use reasoning_budget=0" in refusal(engine, False)
    with fake_pool(engine) as pool:
        assert pool.chat("hello", reasoning=True).answer == "hello"


def test_no_reasoning_of_a_model_that_never_does_is_no_fault() -> None:
    with fake_pool(FakeEngine()) as pool:
        assert pool.chat("hello", reasoning=False).answer == "hello"


# --- the budget ---------------------------------------------------------------------------------


def spent(said: Sequence[int | str], budget: int, **options: Any) -> Response:
    return ask(Scripted(*said), reasoning_budget=budget, **options)


def test_a_block_is_closed_when_its_budget_is_spent() -> None:
    # Of the answer that the engine would give, a closing takes the places of two tokens.
    response = spent([WHY, "12345678"], 4)
    assert (response.reasoning, response.answer) == ("123", "678")
    assert response.usage.reasoning_tokens == 5
    assert response.usage.completion_tokens == 1 + 3 + 2 + 3 + 1


def test_no_budget_is_no_reasoning() -> None:
    response = spent(["1234"], 0, reasoning=True)
    assert (response.reasoning, response.answer) == ("", "34")
    response = spent([WHY, "1234"], 0)
    assert (response.reasoning, response.answer) == ("", "34")


def test_a_block_is_not_closed_within_a_character() -> None:
    response = spent([WHY, "é🙂é12so"], 4)
    assert (response.reasoning, response.answer) == ("é🙂", "12so")


def test_a_budget_that_is_not_spent_changes_nothing() -> None:
    assert spent([WHY, "why", SO, "so"], 100).answer == "so"
    assert spent(["plain"], 0).answer == "plain"


def test_later_blocks_share_the_budget() -> None:
    response = spent([WHY, "ab", SO, WHY, "cdefgh"], 5)
    assert response.reasoning == "ab"
    assert response.answer == "efgh"


def test_tokens_of_a_closing_have_log_probabilities() -> None:
    response = spent([WHY, "12345678"], 4, logprobs=True)
    assert len(response.logprobs) == response.usage.completion_tokens


def test_a_call_has_an_id_that_the_template_takes_in_the_next_turn() -> None:
    check = "{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}"
    refuse = "{{ raise_exception('nine') }}{% endif %}{% endfor %}{% endfor %}"
    said = CALLS, '[{"name": "f", "arguments": {}}]'
    response = ask(Scripted(*said, template=check + refuse + TEMPLATE), tools=[TOOL])
    (call,) = response.tool_calls
    turns = [
        {"role": "user", "content": "hello"},
        response.to_openai()["choices"][0]["message"],
        {"role": "tool", "tool_call_id": call.id, "content": "so"},
    ]
    with fake_pool(Scripted(*said, template=check + refuse + TEMPLATE), slots=1) as pool:
        (again,) = pool.chat(turns, tools=[TOOL]).tool_calls
    assert len({call.id, again.id}) == 2
    assert len(call.id) == len(again.id) == 9
