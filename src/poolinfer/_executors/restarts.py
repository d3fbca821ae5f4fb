"""How often workers may die, and how long to wait before the next one is started."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Bounds on restarts.

    Attributes:
        most: unexpected deaths that are made good within `period`; one more, and all is given up.
        period: seconds.
        first: seconds before the second restart within the period, doubled with every further one; the first one
            is immediate.
        longest: most seconds before a restart.
    """

    most: int = 3
    period: float = 30.0
    first: float = 0.1
    longest: float = 10.0


class Restarts:
    """Counts unexpected deaths against a policy."""

    def __init__(self, policy: RestartPolicy, jitter: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._jitter = jitter
        self._deaths: deque[float] = deque()
        self._failed_boots = 0

    def died(self, now: float) -> float | None:
        """A worker died: seconds to wait before the next, or None when it was one death too many."""
        policy = self._policy
        self._deaths.append(now)
        while self._deaths[0] <= now - policy.period:
            self._deaths.popleft()
        n = len(self._deaths)
        if n > policy.most:
            return None
        if n == 1:
            return 0.0
        # Jitter, so that the workers of many pools on one machine do not all load at once.
        return min(policy.longest, policy.first * 2.0 ** (n - 2)) * (0.5 + self._jitter())

    def failed_to_boot(self, now: float) -> float | None:
        """Likewise, for one that never came up; slow failures must not go on for ever either."""
        self._failed_boots += 1
        delay = self.died(now)
        return None if self._failed_boots > self._policy.most else delay

    def booted(self) -> None:
        """A worker came up."""
        self._failed_boots = 0
