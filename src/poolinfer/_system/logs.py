"""poolinfer's loggers: their names, what a line may hold, and how lines get from a worker process to its host.

The host decides where its log goes: poolinfer adds no handler to the host's loggers but a `logging.NullHandler`,
and sets no level. In a child process of poolinfer, a `Forwarder` keeps the logged lines until they are sent to the
host.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeAlias

#: The logger of pools, their calls and their worker processes.
POOLS = "poolinfer"
#: The logger of llama.cpp's own lines. It is off until it has a level of its own.
LLAMA = "poolinfer.llama"

#: A line on its way to another process: logger, level, text.
Line: TypeAlias = tuple[str, int, str]

_MOST_CHARS = 2048
_MOST_LINES = 1000
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def llama_level() -> int:
    """The least level that the host has set for llama.cpp's lines; `logging.NOTSET` if it has set none.

    A level that the logger inherits does not count: a host that debugs its own code would get hundreds of lines for
    every model and every context.
    """
    logger = logging.getLogger(LLAMA)
    return logger.getEffectiveLevel() if logger.level != logging.NOTSET else logging.NOTSET


def printable(text: str) -> str:
    """A text as one line of bounded length without control characters; the text may quote a model file."""
    cut = text[:_MOST_CHARS] + (" ..." if len(text) > _MOST_CHARS else "")
    return "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in cut)


class SafeLog:
    """A logger for poolinfer's own threads: errors that the host's handlers and filters raise are dropped.

    An error in the host's logging must not end a thread or fail a call.
    """

    def __init__(self, name: str = POOLS) -> None:
        self._logger = logging.getLogger(name)

    @property
    def debugs(self) -> bool:
        """Whether lines at DEBUG are wanted."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def warning(self, message: str, *arguments: object) -> None:
        """See `logging.Logger.warning`."""
        self._log(logging.WARNING, message, arguments)

    def error(self, message: str, *arguments: object) -> None:
        """See `logging.Logger.error`."""
        self._log(logging.ERROR, message, arguments)

    def exception(self, message: str, *arguments: object) -> None:
        """See `logging.Logger.exception`."""
        self._log(logging.ERROR, message, arguments, with_error=True)

    def _log(
        self, level: int, message: str, arguments: tuple[object, ...], *, with_error: bool = False
    ) -> None:
        with suppress(Exception):
            # File and line in the record are those of the code that called this object.
            self._logger.log(level, message, *arguments, exc_info=with_error, stacklevel=3)


def say(name: str, level: int, message: str, *arguments: object) -> None:
    """Log a line, and drop errors that the host's handlers and filters raise: they must not end a pool's thread."""
    with suppress(Exception):
        logging.getLogger(name).log(level, message, *arguments)


def wanted() -> tuple[int, int]:
    """The least levels that this process wants of a worker's two loggers, `POOLS` and `LLAMA`."""
    return max(logging.DEBUG, logging.getLogger(POOLS).getEffectiveLevel()), llama_level()


class Forwarder(logging.Handler):
    """Keeps the last 1,000 lines of a worker's log until they are sent to the host; it never waits.

    Args:
        levels: the least levels that the host wants (see `wanted`).
        ring: called after each line, so that the line is sent.
    """

    def __init__(self, levels: tuple[int, int], ring: Callable[[], object]) -> None:
        super().__init__()
        self._least: dict[str, int] = {POOLS: levels[0], LLAMA: levels[1]}
        self._ring = ring
        self._lines: deque[Line] = deque(maxlen=_MOST_LINES)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        least = self._least.get(record.name, logging.NOTSET)
        if least == logging.NOTSET or record.levelno < least:
            return
        for text in self.format(record).splitlines():
            self._lost += len(self._lines) == _MOST_LINES
            self._lines.append((record.name, record.levelno, printable(text)))
        self._ring()

    def take(self) -> tuple[tuple[Line, ...], int]:
        """The lines since the last call of this method, and the number of lines before them that were lost."""
        self.acquire()
        try:
            lines, lost = tuple(self._lines), self._lost
            self._lines.clear()
            self._lost = 0
            return lines, lost
        finally:
            self.release()


def forward(levels: tuple[int, int], ring: Callable[[], object]) -> Forwarder:
    """Have a new `Forwarder` keep what this child process logs; it replaces an earlier one (the zygote's)."""
    logger = logging.getLogger(POOLS)
    for handler in list(logger.handlers):
        if isinstance(handler, Forwarder):
            logger.removeHandler(handler)
    for name, level in zip((POOLS, LLAMA), levels, strict=True):
        # Warnings are printed, too, for the error that says how a worker died.
        logging.getLogger(name).setLevel(min(level or logging.WARNING, logging.WARNING))
    forwarder = Forwarder(levels, ring)
    logger.addHandler(forwarder)
    return forwarder


def repeat(lines: Iterable[Line], lost: int, who: str) -> None:
    """Log in the host what a worker has logged. Workers are not trusted: names, levels and texts are checked."""
    for name, level, text in lines:
        if (name == POOLS or (name == LLAMA and llama_level())) and level in _LEVELS:
            say(name, level, "%s: %s", who, printable(text))
    if lost > 0:
        say(POOLS, logging.WARNING, "%s: %d lines of its log were lost", who, lost)
