"""How many prompt tokens may ride along in a step while others are decoding."""

from __future__ import annotations

from collections.abc import Sequence

_SMALLEST = 16
_FIRST_GUESS = 64
_WEIGHT = 0.25


class Pace:
    """Learns what steps cost, and keeps them under a latency target.

    A step with `p` prompt rows is taken to last `base + p x per_token` seconds, both exponentially weighted
    means: `base` of the steps that only decoded, `per_token` of what the other steps took beyond it. However
    wrong the split between the two may be, the budget settles where steps last as long as the target.
    """

    def __init__(self, target: float, n_batch: int) -> None:
        self._target = target
        self._n_batch = n_batch
        self._base = 0.0
        self._per_token = 0.0

    def prefill_budget(self, decoding: int) -> int:
        """Most prompt rows of the next step beside `decoding` rows: a whole batch when nobody decodes.

        Where decoding alone takes more than half of the target, prompts may take as long as decoding does:
        trickled in, they would cost everyone more than the target can save.
        """
        room = max(0, self._n_batch - decoding)
        if not decoding:
            return room
        if not self._per_token:
            return min(room, _FIRST_GUESS)
        spare = max(self._target - self._base, self._base)
        return min(room, max(_SMALLEST, int(spare / self._per_token + 1e-6)))

    def observe(self, prefill: int, decoding: int, seconds: float) -> None:
        """Learn from a finished step."""
        if not prefill:
            self._base = _blend(self._base, seconds)
        elif prefill >= _SMALLEST:
            # Fewer rows cost about what one costs, and say little of a long prompt.
            beyond = seconds - self._base if decoding else seconds
            self._per_token = _blend(self._per_token, max(beyond, 1e-6) / prefill)


def share(pending: Sequence[int], room: int, *, oldest_first: bool) -> list[int]:
    """How many rows of a step each prompt gets, by what they still need, oldest prompt first.

    The shortest come first, so that none waits behind a long one; or the oldest one does, in a step after one
    that had no room for it. One prompt after the other, because llama.cpp reads all weights again for rows that
    one sequence has more of than its neighbours.
    """
    rows = [0] * len(pending)
    order = sorted(range(len(pending)), key=pending.__getitem__)
    if oldest_first:
        order.remove(0)
        order.insert(0, 0)
    for i in order:
        rows[i] = min(pending[i], room)
        room -= rows[i]
    return rows


def _blend(mean: float, seen: float) -> float:
    return mean + _WEIGHT * (seen - mean) if mean else seen
