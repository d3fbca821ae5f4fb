"""How many workers there are to be, and when one has served long enough."""

from __future__ import annotations

from dataclasses import dataclass

from .seats import Seat, Seats
from .workers.link import Link


@dataclass(frozen=True, slots=True)
class Sizing:
    """Bounds on the number of workers, and on the life of one.

    Attributes:
        least: workers that are always there.
        most: workers while calls wait for room.
        idle_timeout: seconds without work after which a worker beyond `least` ends.
        max_calls: calls after which a worker is replaced; None for no bound.
        max_rss: bytes of resident memory above which a worker is replaced between calls; None for no bound.
        max_age: seconds after which a worker is replaced between calls; None for no bound.
    """

    least: int = 1
    most: int = 1
    idle_timeout: float = 60.0
    max_calls: int | None = None
    max_rss: int | None = None
    max_age: float | None = None


class Sizer:
    """Decides when workers come and go. All methods are called with the seating's lock held, on the link's thread.

    Args:
        sizing: the bounds.
        seats: the workers that are up.
        link: says whether workers are missing, and what memory one uses.

    Attributes:
        size: how many workers are wanted.
    """

    def __init__(self, sizing: Sizing, seats: Seats, link: Link) -> None:
        self._sizing = sizing
        self._seats = seats
        self._link = link
        self.size = sizing.least

    def grow(self) -> bool:
        """Want one more worker, if there may be one more and none is on its way."""
        if self.size >= self._sizing.most or not self._link.settled:
            return False
        self.size += 1
        return True

    def choose_leaving(self, now: float) -> Seat | None:
        """The idle worker that is to end now, because there are too many or because it is old.

        It is marked as retiring. If there are too many, one less is wanted from now on.
        """
        if not self._is_complete():
            return None
        leaving = self._surplus(now)
        if leaving is not None:
            self.size -= 1
        else:
            old = (seat for seat in self._seats.values() if not seat.jobs and self._is_old(seat, now))
            leaving = next(old, None)
            if leaving is None:
                return None
            leaving.recycled = True
        leaving.retiring = True
        return leaving

    def count_served(self, seat: Seat, now: float) -> None:
        """Count a job that has ended, and mark its worker as retiring if it is old."""
        seat.serve(now)
        if not seat.retiring and self._is_complete() and self._is_old(seat, now):
            seat.retiring = seat.recycled = True

    def _is_complete(self) -> bool:
        """Whether no worker is missing or about to go: they are replaced one at a time."""
        return self._link.settled and not self._seats.retiring

    def _is_old(self, seat: Seat, now: float) -> bool:
        """Whether a worker is to be replaced once it has no jobs."""
        bounds = self._sizing
        if bounds.max_calls is not None and seat.served >= bounds.max_calls:
            return True
        if bounds.max_age is not None and now - seat.since >= bounds.max_age:
            return True
        # One that has served nothing yet is as small as a new one would be.
        return (
            bounds.max_rss is not None and seat.served > 0 and self._link.memory(seat.number) > bounds.max_rss
        )

    def _surplus(self, now: float) -> Seat | None:
        """A worker beyond the least number: the one that has been idle longest, if that is long enough."""
        if self.size <= self._sizing.least:
            return None
        idle = [seat for seat in self._seats.values() if now - seat.idle_since >= self._sizing.idle_timeout]
        return min(idle, key=lambda seat: seat.idle_since, default=None)
