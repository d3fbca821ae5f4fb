"""What a forked child of the host may not use, and what it must not keep open.

As long as somebody holds the host's end of a worker's socket, the worker does not notice that its host is
gone. So a child that the host forks (gunicorn, multiprocessing) closes its copies at once. It takes no lock:
whoever held one at the moment of the fork does not exist in the child.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from .._data.errors import ForkedPool


def was_forked(owner: int) -> bool:
    """Whether this process was forked from another one, the owner of something.

    Args:
        owner: the process id of the owner; 0 while there is none.
    """
    return owner != 0 and os.getpid() != owner


def check_process(owner: int, what: str) -> None:
    """Refuse the use of something in a process that was forked from its owner (law L8).

    Args:
        owner: the process id of the owner; 0 while there is none.
        what: what it is, for the message: ``"pool"``, ``"executor"``.

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
    """Something that holds a descriptor."""

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        ...


_held: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_in_children(*held: Closable) -> None:
    """Close these in every child that is forked while they exist."""
    _held.update(held)


def _after_fork() -> None:
    for held in list(_held):
        held.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
