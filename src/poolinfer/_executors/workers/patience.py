"""How long a supervisor waits for a worker, and the clock that it waits by."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .restarts import RestartLimit

#: What is longer than this between two looks at the clock was a pause.
_LONGEST_STEP = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a supervisor waits, in seconds.

    Attributes:
        boot: until a worker is up.
        stuck: until a worker shows progress again. A slow step may take long.
        silent: until a worker sends its next message, as it answers each ping. Only a worker that was stopped, or
            whose C code keeps the interpreter lock, is silent for so long. A machine that swaps may let a process
            wait for seconds, so it must not be much less.
        silent_boot: the same while a worker boots. It loads libraries then, under the interpreter lock.
        stop: from the wish that a worker ends to SIGTERM.
        term: from SIGTERM to SIGKILL.
        linger: from the end of a worker's socket to SIGKILL.
        give_up: from SIGKILL until the supervisor goes on without the exit status.
        tick: from one look at the clock, and one ping, to the next.
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

    Otherwise every worker would seem to have been silent during the pause.

    Attributes:
        now: the seconds at the last `tick`, without pauses.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self.now = self._last

    def tick(self) -> None:
        """Look at the real clock."""
        last, self._last = self._last, self._clock()
        self.now += min(self._last - last, _LONGEST_STEP)
