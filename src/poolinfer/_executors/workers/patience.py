"""How long a supervisor waits for a worker, and the clock that it waits by."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .restarts import RestartLimit

_LONGEST_STEP = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a supervisor waits, in seconds.

    Attributes:
        boot: for a worker to be up.
        stuck: for a worker's next sign of progress.
        silent: for its next message, since it answers each ping. Less than `stuck`, which a slow step may take:
            only a worker that was stopped, or C code that keeps the interpreter lock, says nothing for so long. Not
            less than this: a machine that swaps may leave a process alone for seconds.
        silent_boot: likewise, while it boots, when it loads libraries under the interpreter lock.
        stop: for a worker to end when asked, before SIGTERM.
        term: from SIGTERM to SIGKILL.
        linger: from the end of a worker's socket to SIGKILL.
        give_up: from SIGKILL until a process that the system cannot end is left behind.
        tick: between looks at the clock, and pings.
        restarts: how often workers may die.
    """

    boot: float = 600.0
    stuck: float = 60.0
    silent: float = 10.0
    silent_boot: float = 60.0
    stop: float = 3.0
    term: float = 1.0
    linger: float = 1.0
    give_up: float = 10.0
    tick: float = 1.0
    restarts: RestartLimit = field(default_factory=RestartLimit)


class PatientClock:
    """Monotonic seconds that stand still while the whole host is stopped (Ctrl-Z, a suspended machine).

    Otherwise every worker would seem to have been silent for all that time.

    Attributes:
        now: the seconds at the last `tick`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self.now = self._last

    def tick(self) -> None:
        """Look at the real clock."""
        last, self._last = self._last, self._clock()
        self.now += min(self._last - last, _LONGEST_STEP)
