"""What a forked child of the host must not keep open.

As long as somebody holds the host's end of a worker's socket, the worker does not notice that its host is
gone. So a child that the host forks (gunicorn, multiprocessing) closes its copies at once. It takes no lock:
whoever held one at the moment of the fork does not exist in the child.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Closable(Protocol):
    """Something with a descriptor."""

    def close(self) -> None:
        """Close it; idempotent."""
        ...


_held: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_in_children(*held: Closable) -> None:
    """Have these closed in every forked child, for as long as they exist."""
    _held.update(held)


def _after_fork() -> None:
    for held in list(_held):
        held.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
