"""Variables for chat templates: plain JSON within bounds, and none in the place of something else."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import label, refusal

from poolinfer import Chat, InvalidRequest, Model, demo_model
from poolinfer._checks.normalize import normalize, normalize_at_once
from poolinfer._data.events import Job
from poolinfer._wire.codec import decode, encode

DEEP: Any = {"a": 1}
for _ in range(40):
    DEEP = {"a": DEEP}
WRONG: list[tuple[Any, str]] = [
    (5, "chat_template_kwargs"),
    ("enable_thinking", "chat_template_kwargs"),
    ([("a", 1)], "chat_template_kwargs"),
    ({1: 2}, "chat_template_kwargs"),
    ({"a": object()}, "chat_template_kwargs"),
    ({"a": float("nan")}, "chat_template_kwargs"),
    ({"a": 2**70}, "chat_template_kwargs"),
    ({"a": b"x"}, "chat_template_kwargs"),
    ({"a": "\ud800"}, "chat_template_kwargs"),
    ({"a": "x" * (1 << 20)}, "chat_template_kwargs"),
    (DEEP, "chat_template_kwargs"),
    ({"messages": []}, "chat_template_kwargs['messages']"),
    ({"tools": None}, "chat_template_kwargs['tools']"),
    ({"add_generation_prompt": False}, "chat_template_kwargs['add_generation_prompt']"),
    ({"bos_token": "<s>"}, "chat_template_kwargs['bos_token']"),
    ({"eos_token": "</s>"}, "chat_template_kwargs['eos_token']"),
]


@pytest.mark.parametrize(("value", "field"), WRONG, ids=label)
def test_F40_bad_variables_are_refused(value: Any, field: str) -> None:
    assert refusal(Chat("hi", chat_template_kwargs=value)).field == field
    with pytest.raises(InvalidRequest) as caught:
        Model.load(demo_model(), chat_template_kwargs=value)
    assert caught.value.field == field


def test_variables_are_copied_and_survive_the_wire() -> None:
    given: dict[str, Any] = {"enable_thinking": False, "documents": [{"title": "a", "text": "b"}], "n": 1.5}
    found = normalize(Chat("hi", chat_template_kwargs=given))
    given["documents"].append(1)
    assert isinstance(found, Chat)
    assert found.chat_template_kwargs == {
        "enable_thinking": False,
        "documents": ({"title": "a", "text": "b"},),
        "n": 1.5,
    }
    assert normalize(found) == found
    assert decode(encode(Job(1, found))) == Job(1, found)
    spec = Model.load(demo_model(), chat_template_kwargs={"a": [1]}).spec
    assert decode(encode(spec)).chat_template_kwargs == {"a": (1,)}


@pytest.mark.parametrize("value", [None, {}])
def test_no_variables_are_none(value: Any) -> None:
    assert normalize(Chat("hi", chat_template_kwargs=value)) == normalize(Chat("hi"))
    assert Model.load(demo_model(), chat_template_kwargs=value).spec == Model.load(demo_model()).spec


def test_many_variables_are_checked_off_the_event_loop() -> None:
    given: dict[str, Any] = {"documents": [{"text": "x" * 10}] * 2_000}
    found, whole = normalize_at_once(Chat("hi", chat_template_kwargs=given))
    assert not whole
    given["more"] = 1
    checked = normalize(found)
    assert isinstance(checked, Chat)
    assert checked.chat_template_kwargs is not None
    assert list(checked.chat_template_kwargs) == ["documents"]


@pytest.mark.parametrize("flag", [1, "yes", []])
def test_F40_whether_to_continue_is_a_flag(flag: Any) -> None:
    answer = [{"role": "assistant", "content": "So"}]
    assert refusal(Chat(answer, continue_final_message=flag)).field == "continue_final_message"


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_may_have_the_names_that_clients_give_it(name: str) -> None:
    turn = {"role": "assistant", "content": "b", name: "why"}
    found = normalize(Chat([turn, {"role": "user", "content": "a"}]))
    assert isinstance(found, Chat)
    assert found.prompt[0] == {"role": "assistant", "content": "b", "reasoning_content": "why"}  # type: ignore[index]
