"""poolinfer's loggers: their names, what their lines may hold, and how lines get from a worker to the host.

Where a log goes is the host's business: in its process, no handler is added but a `logging.NullHandler`, and no
level is set. In a process that is poolinfer's own, a `Forwarder` keeps what is logged until it is sent to the host.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeAlias

#: The logger that says what pools, their calls and their worker processes do.
POOLS = "poolinfer"
#: The logger for llama.cpp's own lines. It is off until it has a level of its own.
LLAMA = "poolinfer.llama"

#: A line on its way to another process: logger, level, text.
Line: TypeAlias = tuple[str, int, str]

_MOST_CHARS = 2048
_MOST_LINES = 1000
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def llama_level() -> int:
    """The least level of llama.cpp's lines that somebody asked for; `logging.NOTSET` when nobody did.

    A level that this logger has from its parents does not count: a host that debugs its own code would get
    hundreds of lines for every model and every context.
    """
    logger = logging.getLogger(LLAMA)
    return logger.getEffectiveLevel() if logger.level != logging.NOTSET else logging.NOTSET


def printable(text: str) -> str:
    """One line of bounded length without control characters: it may quote a model file."""
    cut = text[:_MOST_CHARS] + (" ..." if len(text) > _MOST_CHARS else "")
    return "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in cut)


class SafeLog:
    """A logger for poolinfer's own threads: what handlers and filters of the host raise is dropped.

    A handler that raises is a fault of the host's log. It must neither fail a call nor end a thread of the pool.

    Args:
        name: the logger's name.
    """

    def __init__(self, name: str = POOLS) -> None:
        self._logger = logging.getLogger(name)

    @property
    def debugs(self) -> bool:
        """Whether lines at DEBUG are wanted."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def log(self, level: int, message: str, *arguments: object) -> None:
        """See `logging.Logger.log`."""
        self._log(level, message, arguments)

    def debug(self, message: str, *arguments: object) -> None:
        """See `logging.Logger.debug`."""
        self._log(logging.DEBUG, message, arguments)

    def info(self, message: str, *arguments: object) -> None:
        """See `logging.Logger.info`."""
        self._log(logging.INFO, message, arguments)

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


def wanted_levels() -> tuple[int, int]:
    """The least levels at which this process wants the lines of a worker's two loggers, `POOLS` and `LLAMA`."""
    return max(logging.DEBUG, logging.getLogger(POOLS).getEffectiveLevel()), llama_level()


class Forwarder(logging.Handler):
    """Keeps the last lines of a worker's log until they are sent; it never waits.

    Args:
        levels: the levels that the host wants (see `wanted_levels`).
        ring: called after each line, so that the line is sent.
    """

    def __init__(self, levels: tuple[int, int], ring: Callable[[], object]) -> None:
        super().__init__()
        self._least: dict[str, int] = {POOLS: levels[0], LLAMA: levels[1]}
        self._ring = ring
        self._lines: deque[Line] = deque(maxlen=_MOST_LINES)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the lines of a record that the host wants."""
        least = self._least.get(record.name, logging.NOTSET)
        if least == logging.NOTSET or record.levelno < least:
            return
        for text in self.format(record).splitlines():
            self._lost += len(self._lines) == _MOST_LINES
            self._lines.append((record.name, record.levelno, printable(text)))
        self._ring()

    def take(self) -> tuple[tuple[Line, ...], int]:
        """The lines that nobody has taken yet, and how many lines before them were lost."""
        self.acquire()
        try:
            lines, lost = tuple(self._lines), self._lost
            self._lines.clear()
            self._lost = 0
            return lines, lost
        finally:
            self.release()


def forward_logs(levels: tuple[int, int], ring: Callable[[], object]) -> Forwarder:
    """In a process of poolinfer's own, keep what is logged for the host.

    An earlier `Forwarder` is replaced: a forked worker has the one of its zygote.

    Args:
        levels: the levels that the host wants (see `wanted_levels`).
        ring: called after each line, so that the line is sent.
    """
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


def log_again(lines: Iterable[Line], lost: int, who: str) -> None:
    """Log in the host what a worker has logged. A worker is not trusted: names, levels and texts are checked.

    Args:
        lines: the worker's lines.
        lost: how many lines before them were lost.
        who: the worker's name, which is put before each line.
    """
    for name, level, text in lines:
        if (name == POOLS or (name == LLAMA and llama_level())) and level in _LEVELS:
            SafeLog(name).log(level, "%s: %s", who, printable(text))
    if lost > 0:
        SafeLog().warning("%s: %d lines of its log were lost", who, lost)
