"""Any data at all is either normalised or refused (F-40, F-55)."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from poolinfer._checks.normalize import normalize, normalize_at_once
from poolinfer._data.errors import InvalidRequest
from poolinfer._data.requests import Chat, Raw
from poolinfer._data.text_requests import Embed
from poolinfer._wire.codec import decode, encode

PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["role", "content", "name", "tool_calls", "type", "text", "function", "arguments", "id"]
)
SHAPED = st.recursive(
    PLAIN | st.sampled_from(["user", "assistant", "tool", "text", "function", "{}", '{"a":1}', "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "system"]), "content": SHAPED},
        optional={"tool_calls": st.lists(SHAPED, max_size=2), "name": SHAPED},
    ),
    max_size=3,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cls=st.sampled_from([Chat, Raw, Embed]),
    subject=MESSAGES | SHAPED | st.text(max_size=5),
    name=st.sampled_from([item.name for item in fields(Chat)]),
    value=SHAPED,
)
@example(
    cls=Chat, subject="x", name="tools", value=[{"function": {"name": "f", "parameters": {"a": sys.maxsize}}}]
)
def test_F40_any_data_is_normal_or_refused(cls: Any, subject: Any, name: str, value: Any) -> None:
    names = {item.name for item in fields(cls)} - {"prompt", "input"}
    request = cls(subject, **({name: value} if name in names else {}))
    try:
        found = normalize(request)
    except InvalidRequest as error:
        assert error.field
        error.message.encode()
        with pytest.raises(InvalidRequest) as caught:
            normalize_at_once(request)
        assert caught.value.field == error.field
        return
    assert normalize_at_once(request) == (found, True)
    assert normalize(found) == found
    assert decode(encode(found)) == found
    json.dumps(getattr(found, "prompt", None), allow_nan=False)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(turns=MESSAGES, copies=st.integers(1, 3), texts=st.lists(st.text(max_size=3), max_size=3))
def test_a_check_in_two_parts_comes_to_the_same(turns: Any, copies: int, texts: list[str]) -> None:
    """Whatever of a request is checked at once, and whatever is left to do."""
    for request in (
        Chat([{"role": "user", "content": "hi"}] * (copies * 300) + turns),
        Embed(["a"] * (copies * 300) + texts, normalize=True),
    ):
        try:
            found = normalize(request)
        except InvalidRequest as error:
            with pytest.raises(InvalidRequest) as caught:
                normalize(normalize_at_once(request)[0])
            assert caught.value.message == error.message
        else:
            assert normalize(normalize_at_once(request)[0]) == found
