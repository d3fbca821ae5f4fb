"""llama.cpp's own log lines, on the logger `poolinfer.llama`."""

from __future__ import annotations

import atexit
import ctypes
import logging
import threading
from typing import Any

from ..._system.logs import LLAMA, SafeLog, llama_level, printable
from .llama_context import stopping_here

_log = logging.getLogger(LLAMA)
_safe_log = SafeLog(LLAMA)
_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_CONTINUED = 5
_MOST_BEGUN = 64
_MOST_CHARS = 8192


class LineJoiner:
    """Puts together the lines that llama.cpp logs in parts; the parts of two threads are kept apart.

    It takes no lock: llama.cpp logs from any thread, also from one that holds locks of its own.
    """

    def __init__(self) -> None:
        # Of each thread that has logged: the level of its last line, and what it has of one that has not ended.
        self._begun: dict[int, tuple[int, str]] = {}

    def take(self, level: int, text: str) -> list[tuple[int, str]]:
        """The lines that end with this part, each with its level in `logging`."""
        thread = threading.get_ident()
        number, begun = self._begun.pop(thread, (logging.INFO, ""))
        lines: list[tuple[int, str]] = []
        if level != _CONTINUED:
            lines.append((number, begun))
            number, begun = _LEVELS.get(level, logging.INFO), ""
        *ended, begun = (begun + text).split("\n")
        if len(begun) > _MOST_CHARS:
            ended, begun = [*ended, begun], ""
        lines += [(number, line) for line in ended]
        self._begun[thread] = number, begun
        if len(self._begun) > _MOST_BEGUN:
            self._begun.clear()
        return [(number, line) for number, line in lines if line.strip()]


class LlamaLog:
    """llama.cpp's log callback, of which it has one per process.

    Args:
        api: the bindings.
    """

    def __init__(self, api: Any) -> None:
        self._set = api.llama_log_set
        self._lines = LineJoiner()
        self._forward = api.llama_log_callback(self._take)
        # A function of one line, which ignores the arguments. A callback in Python would need the interpreter
        # lock for each of several hundred lines, even to drop them.
        self._ignore = ctypes.cast(api.llama_supports_mmap, api.llama_log_callback)
        self.set()
        # What native code says when the interpreter has ended must not come here.
        atexit.register(self._set, self._ignore, ctypes.c_void_p())

    def set(self) -> None:
        """Have lines logged from now on if somebody wants them, and dropped otherwise."""
        self._set(self._forward if llama_level() else self._ignore, ctypes.c_void_p())

    def _take(self, level: int, text: bytes | None, _: object) -> None:
        """A part of the log, on any thread."""
        for number, line in self._lines.take(level, (text or b"").decode(errors="replace")):
            # What llama.cpp calls an error is none when we stopped the step ourselves.
            shown = logging.DEBUG if stopping_here() else number
            if _log.isEnabledFor(shown):
                _safe_log.log(shown, "%s", printable(line.rstrip()))
