"""Which frame of the stack is the host's: the line of code that a warning of ours should name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_OURS = os.fspath(Path(__file__).parents[1]) + os.sep


def level_of_host() -> int:
    """The `stacklevel` of the first frame outside this package, for a warning that the caller makes."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    return level
