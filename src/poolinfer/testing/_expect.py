"""How the testing kit says that a condition does not hold, and how it waits until one does."""

from __future__ import annotations

import time
from collections.abc import Callable


def check(condition: object, message: str) -> None:
    """Raise AssertionError with a message unless a condition holds (also under ``python -O``)."""
    if not condition:
        raise AssertionError(message)


def wait_until(condition: Callable[[], object], what: str = "the condition", timeout: float = 30.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: the condition did not hold within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    pause = 0.0005
    while not condition():
        check(time.monotonic() < deadline, f"{what} did not come about within {timeout} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
