"""What a forked child of the host may not use, and what it must not keep open.

A worker notices the end of its host only if no other process holds the host's end of its socket. So a child that
the host forks (gunicorn, multiprocessing) closes its copies at once. It takes no lock: a thread that held a lock
at the moment of the fork does not exist in the child, and would never release it.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from .._data.errors import ForkedPool


def was_forked(owner: int) -> bool:
    """Whether this process is not the owner of something, but was forked from the owner.

    Args:
        owner: the process id of the owner; 0 while there is none.
    """
    return owner != 0 and os.getpid() != owner


def check_process(owner: int, what: str) -> None:
    """Refuse the use of something in a process that was forked from its owner (law L8).

    Args:
        owner: the process id of the owner; 0 while there is none.
        what: the name of the thing, for the message: ``"pool"``, ``"executor"``.

    Raises:
        ForkedPool: this process is not the owner.
    """
    if owner and os.getpid() != owner:
        raise ForkedPool(
            f"this {what} was started in process {owner}, from which this process was forked, and belongs to that"
            " one. Start pools after the fork; one that was only made before it starts in each child (gunicorn:"
            " start it in post_worker_init, not while the application is imported)"
        )


class Closable(Protocol):
    """An object that holds a file descriptor."""

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        ...


_held: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_in_children(*held: Closable) -> None:
    """Have objects closed in every forked child, for as long as the objects exist."""
    _held.update(held)


def _after_fork() -> None:
    for held in list(_held):
        held.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
