"""Kinds of KV memory that lanes are tested on."""

from __future__ import annotations

import pytest
from rides import CostedEngine


@pytest.fixture(params=[None, 32], ids=["rectangles", "blocks"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """Runs a test twice: over rectangles, as llama.cpp has them, and over paged KV. The tokens of a block."""
    size: int | None = request.param
    monkeypatch.setattr(CostedEngine, "paged_by", size)
    return size
