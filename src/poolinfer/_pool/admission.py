"""The queue of a pool: how many calls may wait, and which is next. No thread, no clock; its owner holds a lock."""

from __future__ import annotations

from collections import OrderedDict

from .._data.errors import PoolFull
from .ticket import Ticket


class Admission:
    """A bounded queue: higher priority first, then first come, first served.

    Calls whose requests are not checked yet count as waiting, too, but `pop` does not take them.
    """

    def __init__(self, max_queue: int) -> None:
        self.max_queue = max_queue
        self._waiting: dict[int, OrderedDict[int, Ticket]] = {}
        self._unchecked: dict[int, Ticket] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._unchecked)

    def __contains__(self, ticket: object) -> bool:
        return isinstance(ticket, Ticket) and (
            ticket.job.id in self._waiting.get(ticket.job.request.priority, ())
            or ticket.job.id in self._unchecked
        )

    def push(self, ticket: Ticket, *, front: bool = False) -> None:
        """Let a call wait; at the front if the executor has refused it, so that it keeps its turn."""
        if ticket.check is not None:
            self._unchecked[ticket.job.id] = ticket
            return
        rank = self._waiting.setdefault(ticket.job.request.priority, OrderedDict())
        rank[ticket.job.id] = ticket
        if front:
            rank.move_to_end(ticket.job.id, last=False)
        self._count += 1

    def pop(self) -> Ticket | None:
        """Take the next call, or None."""
        if not self._count:
            return None
        priority = max(self._waiting)
        rank = self._waiting[priority]
        _, ticket = rank.popitem(last=False)
        if not rank:
            del self._waiting[priority]
        self._count -= 1
        return ticket

    def refusal(self, seconds: float) -> PoolFull:
        """The error of a call for which there is no room. It may try again after some seconds."""
        return PoolFull(
            f"the queue is full (max_queue={self.max_queue}); try again in {seconds:.1f} s, or make the pool"
            " with a larger max_queue",
            retry_after=seconds,
        )

    def unchecked(self) -> Ticket | None:
        """The next call whose request is not checked yet, or None; the call stays in the queue."""
        return next(iter(self._unchecked.values()), None)

    def discard(self, ticket: Ticket) -> bool:
        """Take a call out of the queue; returns whether it was there."""
        if self._unchecked.pop(ticket.job.id, None) is not None:
            return True
        priority = ticket.job.request.priority
        rank = self._waiting.get(priority)
        if rank is None or rank.pop(ticket.job.id, None) is None:
            return False
        if not rank:
            del self._waiting[priority]
        self._count -= 1
        return True

    def oldest(self) -> float | None:
        """When the longest-waiting call of any priority was accepted, in the pool's clock."""
        ranks = (*self._waiting.values(), *([self._unchecked] if self._unchecked else ()))
        return min((next(iter(rank.values())).created for rank in ranks), default=None)
