"""What a supervisor is doing at the moment, for threads that wait until that changes."""

from __future__ import annotations

import threading
from typing import Literal, TypeAlias

StateName: TypeAlias = Literal["new", "starting", "running", "broken", "closing", "closed"]


class SupervisorState:
    """The state of a supervisor: "starting" until all workers are up, "broken" when none will come any more.

    Attributes:
        name: what the supervisor is doing.
        changed: a condition whose lock is held while the state changes, and which is notified then.
    """

    def __init__(self) -> None:
        self.name: StateName = "new"
        self.changed = threading.Condition()

    def is_in(self, *names: StateName) -> bool:
        """Whether the state is one of these."""
        return self.name in names

    def move(self, to: StateName, *allowed: StateName) -> bool:
        """Change the state if it is one of those allowed; returns whether it was."""
        with self.changed:
            moved = self.name in allowed
            if moved:
                self.name = to
                self.changed.notify_all()
            return moved
