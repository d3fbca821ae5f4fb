"""How many workers there are to be, and when one has served long enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .._system.machine import rss
from .seats import Seat


@dataclass(frozen=True, slots=True)
class Sizing:
    """Bounds on the number of workers, and on the life of one.

    Attributes:
        least: workers that are always there.
        most: workers while calls wait for room.
        idle_timeout: seconds without work after which one beyond `least` ends.
        max_calls: calls after which a worker is replaced; None for no bound, as for the next two.
        max_rss: bytes of resident memory above which a worker is replaced between calls.
        max_age: seconds after which a worker is replaced between calls.
    """

    least: int = 1
    most: int = 1
    idle_timeout: float = 60.0
    max_calls: int | None = None
    max_rss: int | None = None
    max_age: float | None = None

    def is_old(self, seat: Seat, now: float) -> bool:
        """Whether a worker is to be replaced once it has nothing to do."""
        if self.max_calls is not None and seat.served >= self.max_calls:
            return True
        if self.max_age is not None and now - seat.since >= self.max_age:
            return True
        # One that has served nothing yet is as small as a new one would be.
        return self.max_rss is not None and seat.served > 0 and rss(seat.worker.pid) > self.max_rss

    def surplus(self, seats: Iterable[Seat], size: int, now: float) -> Seat | None:
        """A worker that `size` workers can do without: the one that has been idle longest, and for long enough."""
        if size <= self.least:
            return None
        idle = [seat for seat in seats if now - seat.idle_since >= self.idle_timeout and not seat.retiring]
        return min(idle, key=lambda seat: seat.idle_since, default=None)
