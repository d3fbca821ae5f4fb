"""The deadlines of a pool's calls, the next one first."""

from __future__ import annotations

import heapq

from .ticket import Ticket

#: The deadline of a call that has none.
NEVER = float("inf")
# Ended calls that are kept until their deadline; with more, all ended calls are dropped.
_SPARE = 64


class Deadlines:
    """Remembers calls until their deadlines, and ended ones no longer than there is room. Not thread-safe."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Ticket]] = []

    def watch(self, ticket: Ticket, live: int) -> None:
        """Remember a call that has a deadline; `live` is how many calls have not ended."""
        if ticket.deadline == NEVER:
            return
        if len(self._heap) > 2 * live + _SPARE:
            self._heap = [item for item in self._heap if not item[2].ended]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (ticket.deadline, ticket.job.id, ticket))

    def next(self) -> Ticket | None:
        """The call whose deadline comes first, of those that have not ended; None without one."""
        while self._heap and self._heap[0][2].ended:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None
