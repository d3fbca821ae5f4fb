"""Bounds of what a request may weigh, and what checking them costs (F-43)."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from chat_turns import CALL, TOOL, USER, assistant, tool
from refusals import label, refusal

from poolinfer._checks.limits import LIMITS
from poolinfer._checks.normalize import normalize, normalize_at_once
from poolinfer._data.errors import InvalidRequest
from poolinfer._data.requests import Chat, Raw


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        ("x" * (4 * 1024 * 1024 + 1), "prompt"),
        ("\u00e9" * (2 * 1024 * 1024 + 1), "prompt"),
        ([USER] * 100_000, "messages"),
        ([{"role": "user", "content": "x" * 2_000_000}] * 3, "messages[2].content"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}] * 5000}], "messages[0].content"),
    ],
    ids=label,
)
def test_F43_huge_prompts(prompt: Any, field: str) -> None:
    began = time.thread_time()
    assert refusal(Chat(prompt)).field == field
    assert time.thread_time() - began < 1


def test_F43_boundary() -> None:
    most = int(LIMITS["prompt"].high)
    assert normalize(Raw("x" * most))
    assert refusal(Raw("x" * (most + 1))).field == "prompt"


def spoken(**function: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [tool(**function)] * 128}


NOTHING = [{"type": "text", "text": ""}]
# Each is within the bound of every single list, and takes seconds to walk over.
MANY: dict[str, tuple[list[Any], str]] = {
    "parts": ([{"role": "user", "content": NOTHING * 4096}] * 1024, "messages[15].content"),
    "calls": ([spoken()] * 1024, "messages[167].tool_calls"),
    "json": ([spoken(arguments='{"a": [' + "0," * 999 + "0]}")] * 1024, "messages[0].tool_calls[64]"),
    "shared": ([spoken(arguments={"a": [[{}] * 99] * 99})] * 1024, "messages[0].tool_calls[6]"),
}


@pytest.mark.parametrize("kind", MANY)
def test_F43_many_small_things_are_refused_before_they_are_walked_over(kind: str) -> None:
    turns, field = MANY[kind]
    began = time.thread_time()
    error = refusal(Chat([*turns, USER]))
    assert time.thread_time() - began < 1
    assert error.field.startswith(field)
    assert "65,536 items" in error.message


def test_F43_keys_that_mean_nothing_are_counted() -> None:
    nothing = {f"k{i}": None for i in range(300_000)}
    for request, field in (
        (Chat([{**USER, **nothing}]), "messages[0]"),
        (Chat([{**USER, **dict.fromkeys(map(str, range(3000)))}] * 450), "messages[21]"),
        (Chat(assistant(tool_calls=[{**CALL, **nothing}])), "messages[0].tool_calls[0]"),
        (Chat(assistant(tool_calls=[tool(**nothing)])), "messages[0].tool_calls[0].function"),
        (Chat("x", tools=[{**TOOL, **nothing}]), "tools[0]"),
        (Chat("x", tools=[tool(**nothing)]), "tools[0].function"),
    ):
        began = time.thread_time()
        _, whole = normalize_at_once(request)
        assert time.thread_time() - began < 0.5
        assert not whole
        error = refusal(request)
        assert error.field == field
        assert "65,536 items" in error.message


def test_F43_checking_takes_little_memory() -> None:
    """Items that are shared in the caller's request are not in the checked one, and JSON texts grow."""
    text = '{"a": [' + "[]," * 60_000 + "0]}"
    for turns in (
        MANY["calls"][0],
        [{"role": "assistant", "content": "", "tool_calls": [tool(arguments=text)]}],
    ):
        tracemalloc.start()
        try:
            with suppress(InvalidRequest):
                normalize(Chat([*turns, USER]))
            assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
        finally:
            tracemalloc.stop()


def test_F43_a_json_text_is_decoded_only_if_it_is_short() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [tool(arguments='{"a":"' + "x" * 262_136 + '"}')],
    }
    assert normalize(Chat([call, USER]))
    call["tool_calls"] = [tool(arguments='{"a":"' + "x" * 262_137 + '"}')]
    error = refusal(Chat([call, USER]))
    assert error.field == "messages[0].tool_calls[0].function.arguments"
    assert "262,144 bytes" in error.message
