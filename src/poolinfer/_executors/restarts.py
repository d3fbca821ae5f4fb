"""How often workers may die, whose fault that is, and how long to wait before the next one is started."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Bounds on restarts.

    Attributes:
        most: deaths that are made good within `period`, of those that are no request's fault; one more, and all is
            given up.
        period: seconds.
        first: seconds before the second restart within the period, doubled with every further one; the first one
            is immediate.
        longest: most seconds before a restart.
    """

    most: int = 3
    period: float = 30.0
    first: float = 0.1
    longest: float = 10.0


@dataclass(slots=True, eq=False)
class Blame:
    """Whose fault an unexpected death is. It counts against the pool unless a request is to blame.

    Attributes:
        suspects: ids of the calls that the worker had, and that run again, each alone; until they have ended, the
            death does not count.
        guilty: whether the request of one of them has killed another worker.
    """

    suspects: set[int] = field(default_factory=set)
    guilty: bool = False

    @property
    def counts(self) -> bool:
        """Whether it counts against the pool."""
        return not self.guilty and not self.suspects


class Restarts:
    """Counts unexpected deaths against a policy."""

    def __init__(self, policy: RestartPolicy, jitter: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._jitter = jitter
        self._deaths: list[tuple[float, Blame]] = []
        self._failed_boots = 0

    def died(self, now: float, blame: Blame) -> float | None:
        """A worker died: seconds to wait before the next, or None when it was one death too many."""
        self._deaths.append((now, blame))
        return self.delay(now)

    def delay(self, now: float) -> float | None:
        """Seconds to wait before the next worker is started, or None when there were too many deaths."""
        policy = self._policy
        self._deaths = [death for death in self._deaths if death[0] > now - policy.period]
        n = sum(blame.counts for _, blame in self._deaths)
        if n > policy.most:
            return None
        if n <= 1:
            return 0.0
        # Jitter, so that the workers of many pools on one machine do not all load at once.
        return min(policy.longest, policy.first * 2.0 ** (n - 2)) * (0.5 + self._jitter())

    def failed_to_boot(self, now: float) -> float | None:
        """Likewise, for one that never came up; slow failures must not go on for ever either."""
        self._failed_boots += 1
        delay = self.died(now, Blame())
        return None if self._failed_boots > self._policy.most else delay

    def booted(self) -> None:
        """A worker came up."""
        self._failed_boots = 0
