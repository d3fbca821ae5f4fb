"""What tests of faults share."""

from __future__ import annotations

import crash_pools
import pytest


@pytest.fixture(params=[False, True], ids=["process", "prefork"])
def prefork(request) -> bool:
    """Whether workers are forked."""
    return request.param


@pytest.fixture
def both_kinds(prefork: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test over workers that are started and over workers that are forked."""
    monkeypatch.setattr(crash_pools, "PREFORK", prefork)
