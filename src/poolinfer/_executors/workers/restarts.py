"""How often workers may die, and how long to wait before the next one is started.

Only the deaths of workers that had nothing to do count towards giving up. One that dies at work may have died of
it, and its calls say so; if it counted, whoever may send requests could break the pool for everybody.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartLimit:
    """Bounds on restarts.

    Attributes:
        most: deaths of idle and booting workers that are made good within `period`; one more, and all is given up.
        period: seconds.
        first: seconds before the second restart within the period, doubled with every further one; the first one
            is immediate.
        longest: most seconds before a restart.
        longest_busy: likewise, where workers die at work; there are calls that wait.
    """

    most: int = 3
    period: float = 30.0
    first: float = 0.1
    longest: float = 10.0
    longest_busy: float = 1.0


class Restarts:
    """Counts unexpected deaths against a policy."""

    def __init__(self, policy: RestartLimit, jitter: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._jitter = jitter
        self._deaths: list[tuple[float, bool]] = []
        self._failed_boots = 0

    def died(self, now: float, busy: bool) -> float | None:
        """A worker died, at work or not: seconds to wait before the next, or None when too many died idle."""
        self._deaths = [(at, was) for at, was in self._deaths if at > now - self._policy.period]
        self._deaths.append((now, busy))
        idle = sum(not was for _, was in self._deaths)
        if idle > self._policy.most:
            return None
        longest, busy_longest = self._policy.longest, min(self._policy.longest, self._policy.longest_busy)
        return max(self._wait(idle, longest), self._wait(len(self._deaths), busy_longest))

    def _wait(self, deaths: int, longest: float) -> float:
        if deaths <= 1:
            return 0.0
        # Jitter, so that the workers of many pools on one machine do not all load at once.
        return min(longest, self._policy.first * 2.0 ** min(deaths - 2, 60)) * (0.5 + self._jitter())

    def failed_to_boot(self, now: float) -> float | None:
        """Likewise, for one that never came up; slow failures must not go on for ever either."""
        self._failed_boots += 1
        delay = self.died(now, busy=False)
        return None if self._failed_boots > self._policy.most else delay

    def booted(self) -> None:
        """A worker came up."""
        self._failed_boots = 0
