"""What one rendering of a chat template may cost: work and memory in one currency, and time."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...._data.errors import CallCancelled, InvalidRequest

#: Units that any rendering has. A unit is a character or a byte that is made or read, or a node that is run.
BASE = 4 * 1024 * 1024
#: Units that it has for each one of its messages and tools, and one more for each message: some templates look at
#: all messages, or copy all that they have made, once for each of them.
PER_UNIT = 64
#: Most units of any rendering.
MOST = 192 * 1024 * 1024
#: Seconds of computing that a rendering may take; waiting for other threads is not counted.
SECONDS = 5.0

_TRANCHE = 20_000


def _never() -> bool:
    return False


class Fuel:
    """Pays for one rendering, and ends it when it has cost too much or is not wanted any more.

    No single operation of the sandbox takes longer than its units say, so the interpreter lock is never held for
    long, and a look at the clock every few thousand units bounds the time of loops that make nothing.
    """

    def __init__(self, size: int, turns: int, stop: Callable[[], bool] | None = None) -> None:
        """Fuel for so many messages, and units of them and the tools; `stop` says whether the call was given up."""
        self._rest = min(BASE + (PER_UNIT + turns) * size, MOST)
        self._tranche = 0
        self._stop = stop or _never
        self._end = time.thread_time() + SECONDS

    def pay(self, units: int) -> None:
        """Pay for what is going to be done.

        Raises:
            InvalidRequest: it costs more than is left, or the rendering takes too long.
            CallCancelled: nobody waits for it.
        """
        self._tranche -= units
        if self._tranche < 0:
            self._refill()

    def _refill(self) -> None:
        self._rest += self._tranche
        if self._rest < 0:
            raise InvalidRequest(
                "the chat template does or makes too much with these messages: shorten them, or use another"
                " template",
                field="prompt",
            )
        if time.thread_time() > self._end:
            raise InvalidRequest(
                f"the chat template took more than {SECONDS:g} seconds: shorten the messages, or use another"
                " template",
                field="prompt",
            )
        if self._stop():
            raise CallCancelled("the call ended while its chat template was rendered")
        self._tranche = min(_TRANCHE, self._rest)
        self._rest -= self._tranche
