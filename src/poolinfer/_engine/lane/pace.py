"""Prompt tokens a step may have: so few that streams keep their pace; with one slot, always the same number."""

from __future__ import annotations

from collections.abc import Sequence

_LEAST_ROWS = 16
_FIRST_ROWS = 64
# Weight of the newest step in a mean.
_BLEND_WEIGHT = 0.25
# Of so many steps, one has no prompt rows.
_PROBE_EVERY = 16
# How many times longer than decoding alone a step with prompts may last.
_PATIENCE = 4.0
# Most seconds for the prompt rows of a step. A cancelled call leaves at the end of a step.
_LONGEST_SECONDS = 2.5


class Pace:
    """Learns what steps cost, and keeps them short enough.

    A step with `p` prompt rows beside `d` decoding ones is expected to last `base(d) + p x per_token` seconds. Both
    are exponentially weighted means: `base` of steps that only decoded, `per_token` of what other steps took beyond
    `base`. Now and then a step has no prompt rows, so that `base` is known even while prompts never end.

    A step may last as long as the target, or `_PATIENCE` times as long as without prompts, whichever is longer.
    Where several prompts wait, it may last longer still. If prompts came in by a few rows, few calls would decode
    at a time, and that would cost everyone more than the target saves. Prompt rows never take longer than
    `_LONGEST_SECONDS` or the target, even where nobody decodes.
    """

    def __init__(self, target: float, n_batch: int) -> None:
        self._target = target
        self._longest = max(target, _LONGEST_SECONDS)
        self._n_batch = n_batch
        self._bases: dict[int, float] = {}
        self._per_token = 0.0
        self._mixed = 0

    def prefill_budget(self, decoding: int, entering: int = 1) -> int:
        """Most prompt rows of the next step beside `decoding` rows; a whole batch, if the model is fast enough.

        `entering` prompts wait. With more than one, the bound is multiplied by 2 or by entering / decoding,
        whichever is larger.
        """
        if not self._per_token:
            return min(self._n_batch, _FIRST_ROWS)
        spare = self._longest
        if decoding:
            if self._mixed >= _PROBE_EVERY or not self._knows(decoding):
                return 0
            base = self._base(decoding)
            patience = _PATIENCE * max(min(2, entering), entering / decoding)
            spare = min(spare, max(self._target, patience * base) - base)
        return min(self._n_batch, max(_LEAST_ROWS, int(spare / self._per_token + 1e-6)))

    def observe(self, prefill: int, decoding: int, seconds: float) -> None:
        """Learn from a finished step."""
        self._mixed += 1
        if not prefill:
            self._mixed = 0
            known = self._bases.get(decoding, 0.0)
            # A step may last long for other reasons, such as a busy machine.
            self._bases[decoding] = _blend(known, min(seconds, 2 * known) if known else seconds)
        elif prefill >= _LEAST_ROWS:
            # Fewer rows cost about as much as one, and tell little about a long prompt.
            beyond = seconds - self._base(decoding) if decoding else seconds
            seen = max(beyond, 1e-6) / prefill
            # The very first rows may have waited for the model's file; nothing else is so far from the mean.
            known = self._per_token if decoding else min(self._per_token, 2 * seen)
            self._per_token = _blend(known, seen)

    def _knows(self, decoding: int) -> bool:
        """Whether steps that only decode have been seen with about so many rows."""
        return any(abs(known - decoding) <= decoding // 4 for known in self._bases)

    def _base(self, decoding: int) -> float:
        """Seconds of a step that only decodes, taken from the nearest number of rows that is known."""
        nearest = min(self._bases, key=lambda known: abs(known - decoding), default=0)
        return self._bases.get(nearest, 0.0)


class EvenPace:
    """Cuts each prompt into pieces of `n_batch` tokens, in a lane with one slot.

    What an engine computes depends in its last bits on where a prompt is cut, so the cuts do not depend on time.
    These steps need not be short: no other call shares them, and a cancel stops them half way.
    """

    def __init__(self, n_batch: int) -> None:
        self._n_batch = n_batch

    def prefill_budget(self, decoding: int, entering: int = 1) -> int:  # noqa: ARG002 - as `Pace`
        """Prompt rows of the next step."""
        return self._n_batch

    def observe(self, prefill: int, decoding: int, seconds: float) -> None:
        """Do nothing: the pieces do not depend on time."""


def prompt_rows(
    pending: Sequence[int], room: int, *, oldest_first: bool, all_step: bool = False
) -> list[int]:
    """How many rows of a step each prompt gets, by what they still need, oldest prompt first.

    The shortest prompts come first, so that none waits behind a long one. After a step that had no room for the
    oldest prompt, the oldest comes first. Prompts are served one after the other: many rows of one prompt cost
    less than a few rows of each.

    With `all_step` each prompt gets a row first, if there is room. Where sequences are separate, that costs nothing
    beside decoding ones, and a prompt without a row would be a gap in their numbers.
    """
    rows = [min(n, int(all_step and room >= 2 * len(pending))) for n in pending]
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
    return mean + _BLEND_WEIGHT * (seen - mean) if mean else seen
