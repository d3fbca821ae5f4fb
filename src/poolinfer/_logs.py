"""What poolinfer's loggers are called, and what may stand in a line of theirs.

A library has no say in where a host's log goes: no handler is added but a `logging.NullHandler`, and no level
is set.
"""

from __future__ import annotations

import logging

#: What pools, their calls and their worker processes do.
POOLS = "poolinfer"
#: What llama.cpp says itself. Off until this logger has a level of its own.
LLAMA = "poolinfer.llama"

_MOST_CHARS = 2048


def llama_level() -> int:
    """The least level of llama.cpp's lines that somebody asked for, or `logging.NOTSET` when nobody did.

    A level that this logger has from its parents does not count: a host that debugs its own code would get
    hundreds of lines for every model and every context.
    """
    logger = logging.getLogger(LLAMA)
    return logger.getEffectiveLevel() if logger.level != logging.NOTSET else logging.NOTSET


def printable(text: str) -> str:
    """One line of bounded length without control characters: it may quote a model file."""
    cut = text[:_MOST_CHARS] + (" ..." if len(text) > _MOST_CHARS else "")
    return "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in cut)
