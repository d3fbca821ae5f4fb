"""Requests that have been in the death of two workers, refused for a while by what they ask for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

from .._requests import Chat, Embed, Raw
from .._wire import encode

_SECONDS = 600.0


class Quarantine:
    """Remembers requests by the hash of their content; the texts themselves are not kept."""

    def __init__(self, seconds: float = _SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[bytes, float] = {}

    def add(self, request: Chat | Raw | Embed) -> None:
        """Refuse this request from now on."""
        now = self._clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        self._until[_digest(request)] = now + self._seconds

    def holds(self, request: Chat | Raw | Embed) -> bool:
        """Whether this request is refused."""
        return bool(self._until) and self._until.get(_digest(request), 0.0) > self._clock()


def _digest(request: Chat | Raw | Embed) -> bytes:
    return hashlib.sha256(encode(replace(request, timeout=None, priority=0))).digest()
