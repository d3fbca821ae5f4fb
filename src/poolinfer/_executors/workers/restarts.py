"""How often workers may die, and how long to wait before the next one is started.

Only the deaths of workers that had no calls count towards giving up. One that dies with calls may have died of one
of them, and each call says so. If that counted, whoever may send requests could break the pool for everybody.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartLimit:
    """Bounds on restarts.

    Attributes:
        most: how many deaths of idle or booting workers are made good within `period`. One more breaks the pool.
        period: seconds during which a death counts.
        first: seconds before the second restart within the period. They double with each further one; the first
            restart is immediate.
        longest: most seconds before a restart.
        longest_busy: most seconds before a restart where workers die with calls; others wait then.
    """

    most: int = 3
    period: float = 30.0
    first: float = 0.1
    longest: float = 10.0
    longest_busy: float = 1.0


class Restarts:
    """Counts unexpected deaths.

    Args:
        limit: how many there may be.
        jitter: a random number from 0 to 1.
    """

    def __init__(self, limit: RestartLimit, jitter: Callable[[], float] = random.random) -> None:
        self._limit = limit
        self._jitter = jitter
        self._deaths: list[tuple[float, bool]] = []
        self._failed_boots = 0

    def died(self, now: float, busy: bool) -> float | None:
        """Count a worker that has died.

        Args:
            now: the time, in seconds.
            busy: whether it had calls.

        Returns:
            Seconds to wait before the next one is started, or None when too many have died idle.
        """
        self._deaths = [(at, was) for at, was in self._deaths if at > now - self._limit.period]
        self._deaths.append((now, busy))
        idle = sum(not was for _, was in self._deaths)
        if idle > self._limit.most:
            return None
        longest, busy_longest = self._limit.longest, min(self._limit.longest, self._limit.longest_busy)
        return max(self._wait(idle, longest), self._wait(len(self._deaths), busy_longest))

    def _wait(self, deaths: int, longest: float) -> float:
        if deaths <= 1:
            return 0.0
        # Jitter, so that the workers of many pools on one machine do not all load at once.
        return min(longest, self._limit.first * 2.0 ** min(deaths - 2, 60)) * (0.5 + self._jitter())

    def failed_to_boot(self, now: float) -> float | None:
        """Count a worker that never came up.

        They count though they fail slowly: trying must not go on for ever either.

        Returns:
            As for `died`.
        """
        self._failed_boots += 1
        delay = self.died(now, busy=False)
        return None if self._failed_boots > self._limit.most else delay

    def booted(self) -> None:
        """Note that a worker came up."""
        self._failed_boots = 0
