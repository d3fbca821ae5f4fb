"""How many prompt tokens a step may have: so that others keep their pace, or always the same with one slot."""

from __future__ import annotations

from collections.abc import Sequence

_SMALLEST = 16
_FIRST_GUESS = 64
_WEIGHT = 0.25
_PROBE_EVERY = 16
# How much longer than decoding alone a step with prompts may last.
_PATIENCE = 4.0
# Seconds for the prompt rows of any step: a cancelled call that shares it leaves at its end.
_LONGEST = 2.5


class Pace:
    """Learns what steps cost, and keeps them short enough.

    A step with `p` prompt rows beside `d` decoding ones is taken to last `base(d) + p x per_token` seconds, both
    exponentially weighted means: `base` of the steps that only decoded, `per_token` of what the others took beyond
    it. Now and then a step has no prompt rows, so that `base` is known while prompts never end.

    They may last as long as the target, or `_PATIENCE` times as long as without prompts if that is longer, and
    longer still where several prompts wait: trickled in, prompts would cost everyone more than the target can
    save, since few calls would decode at a time. Their rows never take longer than `_LONGEST` or the target,
    even where nobody decodes.
    """

    def __init__(self, target: float, n_batch: int) -> None:
        self._target = target
        self._longest = max(target, _LONGEST)
        self._n_batch = n_batch
        self._bases: dict[int, float] = {}
        self._per_token = 0.0
        self._mixed = 0

    def prefill_budget(self, decoding: int, entering: int = 1) -> int:
        """Most prompt rows of the next step beside `decoding` rows; a whole batch, if the model is fast enough.

        Where several prompts are `entering`, steps may last longer, since they wait as well: twice as long, or as
        many times as there are of them for each row that decodes.
        """
        if not self._per_token:
            return min(self._n_batch, _FIRST_GUESS)
        spare = self._longest
        if decoding:
            if self._mixed >= _PROBE_EVERY or not self._knows(decoding):
                return 0
            base = self._base(decoding)
            patience = _PATIENCE * max(min(2, entering), entering / decoding)
            spare = min(spare, max(self._target, patience * base) - base)
        return min(self._n_batch, max(_SMALLEST, int(spare / self._per_token + 1e-6)))

    def observe(self, prefill: int, decoding: int, seconds: float) -> None:
        """Learn from a finished step."""
        self._mixed += 1
        if not prefill:
            self._mixed = 0
            known = self._bases.get(decoding, 0.0)
            # A step may last long for reasons of its own, such as a context that grows.
            self._bases[decoding] = _blend(known, min(seconds, 2 * known) if known else seconds)
        elif prefill >= _SMALLEST:
            # Fewer rows cost about what one costs, and say little of a long prompt.
            beyond = seconds - self._base(decoding) if decoding else seconds
            seen = max(beyond, 1e-6) / prefill
            # The first rows of all may have waited for the model's file: nothing else is so far from the mean.
            known = self._per_token if decoding else min(self._per_token, 2 * seen)
            self._per_token = _blend(known, seen)

    def _knows(self, decoding: int) -> bool:
        """Whether steps that only decode have been seen with about so many rows."""
        return any(abs(known - decoding) <= decoding // 4 for known in self._bases)

    def _base(self, decoding: int) -> float:
        """What a step takes that only decodes, by the known one that is nearest."""
        nearest = min(self._bases, key=lambda known: abs(known - decoding), default=0)
        return self._bases.get(nearest, 0.0)


class EvenPace:
    """Cuts each prompt into pieces of `n_batch` tokens, in a lane with one slot.

    What llama.cpp computes depends in its last bits on where a prompt is cut, so no clock has a say in it. Nobody
    shares these steps, and a cancel stops them half way, so they need not be short.
    """

    def __init__(self, n_batch: int) -> None:
        self._n_batch = n_batch

    def prefill_budget(self, decoding: int, entering: int = 1) -> int:  # noqa: ARG002 - as `Pace`
        """Prompt rows of the next step."""
        return self._n_batch

    def observe(self, prefill: int, decoding: int, seconds: float) -> None:
        """Learn nothing."""


def share(pending: Sequence[int], room: int, *, oldest_first: bool, all_step: bool = False) -> list[int]:
    """How many rows of a step each prompt gets, by what they still need, oldest prompt first.

    The shortest come first, so that none waits behind a long one; or the oldest one does, in a step after one
    that had no room for it. One prompt after the other, because llama.cpp reads all weights again for rows that
    one sequence has more of than its neighbours.

    With `all_step` each gets a row first, if there is room for that: beside decoding sequences this costs nothing,
    as those of the same length are computed together, but a gap in their numbers splits them.
    """
    rows = [int(all_step and room >= 2 * len(pending))] * len(pending)
    room -= sum(rows)
    order = sorted(range(len(pending)), key=pending.__getitem__)
    if oldest_first and pending:
        order.remove(0)
        order.insert(0, 0)
    for i in order:
        more = min(pending[i] - rows[i], room)
        rows[i] += more
        room -= more
    return rows


def _blend(mean: float, seen: float) -> float:
    return mean + _WEIGHT * (seen - mean) if mean else seen
