"""The deadlines of a pool's calls, the next one first."""

from __future__ import annotations

import heapq

from .ticket import Ticket

_NEVER = float("inf")
_SPARE = 64


class Deadlines:
    """Remembers calls until their deadlines, or until room is needed and they have ended. Not thread-safe."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Ticket]] = []

    def watch(self, ticket: Ticket, live: int) -> None:
        """Remember a call that has a deadline; `live` is how many calls have not ended."""
        if ticket.deadline == _NEVER:
            return
        if len(self._entries) > 2 * live + _SPARE:
            self._entries = [entry for entry in self._entries if not entry[2].ended]
            heapq.heapify(self._entries)
        heapq.heappush(self._entries, (ticket.deadline, ticket.job.id, ticket))

    def next(self) -> Ticket | None:
        """The live call whose deadline comes first."""
        while self._entries and self._entries[0][2].ended:
            heapq.heappop(self._entries)
        return self._entries[0][2] if self._entries else None
