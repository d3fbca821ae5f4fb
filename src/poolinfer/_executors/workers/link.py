"""How an executor reaches its workers, and what it hears of them.

    seating ──start, send, retire, kill, resize──> link ──frames──> workers
    seating <──on_up, on_message, on_down, on_tick── link <──frames── workers

The seating (`poolinfer._executors.seating`) decides which worker gets which job. The link knows nothing of jobs: it
carries bytes, and it alone knows what a worker is (a child process, a peer behind a socket) and how one ends.

A link gives each worker a number, and no number twice. Workers come because the seating wants more
(`resize`), or by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..._wire.frames import Burst, Pong
from .death import Death


class LinkOwner(Protocol):
    """What a link reports to. All methods are called on the link's thread."""

    def on_up(self, number: int) -> None:
        """A worker takes work from now on."""
        ...

    def on_message(self, number: int, message: Pong | Burst) -> bool:
        """A worker that is up sent a message.

        Returns:
            Whether the message shows that the worker has made progress.

        Raises:
            WireError: the worker may not say that. The link ends the worker then.
        """
        ...

    def on_down(self, number: int, death: Death) -> bool:
        """A worker that was up has ended.

        Returns:
            Whether the worker had jobs.
        """
        ...

    def on_broken(self, reason: str) -> None:
        """No worker will come any more."""
        ...

    def on_tick(self) -> None:
        """Some time has passed, a second or less."""
        ...


class Link(Protocol):
    """Carries frames to and from workers. See the module."""

    @property
    def now(self) -> float:
        """Seconds by the link's clock, which stands still while the whole host does."""
        ...

    @property
    def settled(self) -> bool:
        """Whether no worker is about to come or to go."""
        ...

    def start(self, owner: LinkOwner, size: int) -> None:
        """Begin to report to an owner, and wait until the workers are up, where the link starts them itself.

        Args:
            owner: what the link reports to.
            size: how many workers are wanted.

        Raises:
            ModelError: no worker can be had.
            PoolClosed: `close` came first.
        """
        ...

    def close(self) -> None:
        """End all workers, or let go of those that are not ours, and end the link's thread. Idempotent."""
        ...

    def run_soon(self, function: Callable[[], None]) -> None:
        """Have a function run on the link's thread. May be called from any thread, and returns at once."""
        ...

    def send(self, number: int, data: bytes) -> None:
        """Send frames to a worker. May be called from any thread, and never waits.

        The frames are lost when the worker is gone.
        """
        ...

    def takes_work(self, number: int) -> bool:
        """Whether a worker is up and nothing says that it will end soon. May be called from any thread."""
        ...

    def memory(self, number: int) -> int:
        """Bytes of memory that a worker uses; 0 where the link cannot know. On the link's thread."""
        ...

    def resize(self, size: int) -> None:
        """Want another number of workers. On the link's thread. Means nothing where workers come by themselves."""
        ...

    def retire(self, number: int) -> None:
        """Ask a worker that has no jobs to end. Its death is expected then. On the link's thread."""
        ...

    def kill(self, number: int, why: str) -> None:
        """End a worker that does not do what it should, and say why in its death. On the link's thread."""
        ...
