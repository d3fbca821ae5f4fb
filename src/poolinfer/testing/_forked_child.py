"""Checks law L8 in a child made by `os.fork`, which does nothing but make the attempts."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable

from .._data.errors import ForkedPool
from ._expect import check

# Exit statuses of the child. The number of the attempt that did not raise `ForkedPool` is added to the last two.
_FINE, _NO_ERROR, _OTHER_ERROR = 0, 100, 200
_PATIENCE_SECONDS = 20.0


def check_in_child(*attempts: Callable[[], object]) -> None:
    """Check that each attempt raises ForkedPool in a forked child.

    Raises:
        AssertionError: an attempt did not, or the child hung.
    """
    with warnings.catch_warnings():
        # Since 3.12 a fork beside other threads warns. Such a fork is what is checked here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = _OTHER_ERROR
        try:
            code = _try_all(attempts)
        finally:
            os._exit(code)
    code = _wait(pid)
    check(code >= 0, "L8: the forked child hangs")
    check(
        code == _FINE,
        f"L8: attempt {code % 100} in the forked child did not raise ForkedPool (status {code})",
    )


def _try_all(attempts: tuple[Callable[[], object], ...]) -> int:
    for number, attempt in enumerate(attempts):
        try:
            attempt()
        except ForkedPool:
            continue
        except Exception:
            return _OTHER_ERROR + number
        return _NO_ERROR + number
    return _FINE


def _wait(pid: int) -> int:
    """The child's exit status; negative when it had to be killed."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1
