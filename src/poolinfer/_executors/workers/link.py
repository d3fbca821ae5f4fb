"""What a supervisor needs to be told, and tells: the seam between keeping workers alive and giving them work."""

from __future__ import annotations

from typing import Protocol

from ..._wire.frames import FromWorker, ToWorker
from .death import Death
from .worker import Worker


class Owner(Protocol):
    """What a supervisor works for; called on the supervisor's thread."""

    def boot_message(self) -> ToWorker:
        """The first message to a new worker."""
        ...

    def on_up(self, worker: Worker) -> None:
        """A worker is ready for work."""
        ...

    def on_message(self, worker: Worker, message: FromWorker) -> None:
        """A worker that is up said something; WireError if it may not say that."""
        ...

    def on_down(self, worker: Worker, death: Death) -> bool:
        """A worker that was up has ended; whether it had work."""
        ...

    def on_broken(self, reason: str) -> None:
        """Too many deaths: no worker will come any more."""
        ...

    def on_tick(self) -> None:
        """Some time has passed."""
        ...
