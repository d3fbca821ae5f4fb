"""What one rendering of a chat template may cost: work and memory in one currency, and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from ...._data.errors import CallCancelled, InvalidRequest

#: Pays for so many units, before what they pay for is done.
Pay: TypeAlias = Callable[[int], None]

#: Units that any rendering has. A unit is a character or a byte that is made or read, or a node that is run.
BASE_UNITS = 4 * 1024 * 1024
#: Units that a rendering has besides, for each unit of the size of its messages and tools. It has one more for each
#: message: some templates look at all messages, or copy all that they have made, once for each of them.
UNITS_PER_SIZE = 64
#: Most units of any rendering.
MAX_UNITS = 192 * 1024 * 1024
#: Seconds of computing that a rendering may take; waiting for other threads is not counted.
MAX_SECONDS = 5.0

# Units after which the clock is looked at, and `stop` is asked.
_TRANCHE = 20_000


def _never() -> bool:
    return False


class Fuel:
    """Pays for one rendering, and ends the rendering when it has cost too much or its call was given up.

    No operation of the sandbox takes longer than its units say, so the interpreter lock is never held for long. A
    look at the clock every few thousand units bounds the time of loops that make nothing.
    """

    def __init__(self, size: int, n_messages: int, stop: Callable[[], bool] | None = None) -> None:
        """Fuel for one rendering.

        Args:
            size: size of the messages and tools, in characters; an item counts as a few (`TemplateInput.size`).
            n_messages: how many messages there are.
            stop: says whether the call was given up.
        """
        self._rest = min(BASE_UNITS + (UNITS_PER_SIZE + n_messages) * size, MAX_UNITS)
        self._tranche = 0
        self._stop = stop or _never
        self._end = time.thread_time() + MAX_SECONDS

    def pay(self, units: int) -> None:
        """Pay for an operation before it is carried out.

        Raises:
            InvalidRequest: the operation costs more units than are left, or the rendering takes too long.
            CallCancelled: the call was given up.
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
                f"the chat template took more than {MAX_SECONDS:g} seconds: shorten the messages, or use another"
                " template",
                field="prompt",
            )
        if self._stop():
            raise CallCancelled("the call ended while its chat template was rendered")
        self._tranche = min(_TRANCHE, self._rest)
        self._rest -= self._tranche
