"""How tests ask for a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from poolinfer._checks.normalize import normalize
from poolinfer._checks.refusals import show
from poolinfer._data.errors import InvalidRequest


def refusal(request: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        normalize(request)
    error = caught.value
    assert error.field
    assert len(error.message) < 400
    error.message.encode()
    return error


def label(value: object) -> str:
    """A short name for a huge parameter."""
    return show(value)[:24]
