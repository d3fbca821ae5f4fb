"""How many prompt tokens may ride along in a step while others are decoding."""

from __future__ import annotations

_SMALLEST = 16
_WEIGHT = 0.2


class Pace:
    """Learns what steps cost, and keeps them under a latency target.

    A step of `d` decoding rows and `p` prompt rows is taken to last `base + p x per_token` seconds. Both are
    exponentially weighted means of what was seen: `base` from steps without prompt rows, `per_token` from the
    rest.
    """

    def __init__(self, target: float, n_batch: int) -> None:
        self._target = target
        self._n_batch = n_batch
        self._base: float | None = None
        self._per_token: float | None = None

    def prefill_budget(self, decoding: int) -> int:
        """Most prompt rows of the next step beside `decoding` rows: a whole batch when nobody decodes."""
        room = self._n_batch - decoding
        if not decoding:
            return room
        if self._per_token is None:
            return min(room, _SMALLEST * 4)
        spare = self._target - (self._base or 0.0)
        return max(min(room, _SMALLEST), min(room, int(spare / max(self._per_token, 1e-9))))

    def observe(self, prefill: int, decoding: int, seconds: float) -> None:
        """Learn from a finished step."""
        if not prefill:
            self._base = _blend(self._base, seconds)
        elif prefill >= _SMALLEST:
            base = (self._base or 0.0) if decoding else 0.0
            self._per_token = _blend(self._per_token, max(seconds - base, 0.0) / prefill)


def _blend(mean: float | None, seen: float) -> float:
    return seen if mean is None else mean + _WEIGHT * (seen - mean)
