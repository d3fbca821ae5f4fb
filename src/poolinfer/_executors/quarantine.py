"""Requests that have been in the deaths of workers, known for a while by what they ask for.

After two deaths a request is refused. After one death whose call was not run again, the next equal request runs
alone in a worker. If the request is to blame, that costs nobody else. If it ends well, it is forgotten.

A kill from outside says nothing about a request, and is not remembered. The second death of one call always is,
since two workers may have run out of memory with it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

from .._data.requests import Request
from .._wire.codec import encode

_SECONDS = 600.0


class Quarantine:
    """Remembers requests by the hash of their content; the texts themselves are not kept.

    Args:
        seconds: how long a request is remembered.
        clock: says what time it is, in seconds.
    """

    def __init__(self, seconds: float = _SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._known: dict[bytes, tuple[float, int]] = {}

    def add(self, request: Request, deaths: int) -> None:
        """Remember that so many workers have died with this request."""
        now = self._clock()
        self._known = {key: known for key, known in self._known.items() if known[0] > now}
        self._known[_digest(request)] = now + self._seconds, deaths

    def deaths(self, request: Request) -> int:
        """How many workers have died with this request, as far as is remembered. After two it is refused."""
        if not self._known:
            return 0
        until, deaths = self._known.get(_digest(request), (0.0, 0))
        return deaths if until > self._clock() else 0

    def forget(self, request: Request) -> None:
        """Forget a request that has ended well."""
        self._known.pop(_digest(request), None)


def _digest(request: Request) -> bytes:
    return hashlib.sha256(encode(replace(request, timeout=None, priority=0))).digest()
