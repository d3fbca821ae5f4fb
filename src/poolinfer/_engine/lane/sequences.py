"""The KV sequences of a lane: who has one, who waits for one, and whose goes when memory runs short.

    fit (memory; who must wait) ──> place (a sequence, with what is known of its prompt) ──> leave

The context owns the memory (`engine_protocol.Context`); the decisions are made here. When memory runs short, no
call fails: the youngest calls give their sequences up, and go on where they were as soon as there is room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ..._data.errors import ModelError
from ..._data.specs import LaneSpec
from ..engine_protocol import Batch, Context, Engine, Need
from .prefix_cache import AwaitedPrefix, PrefixCache, SequenceChoice
from .slot import Slot

# Tokens that a call must be able to generate before it is let in, where memory runs short token by token. Otherwise
# it would compute its prompt and be preempted at once.
_HEADROOM = 128


def admitted(needs: Sequence[Need], can_hold: Callable[[Sequence[Need]], bool], most: int) -> list[int]:
    """Which calls can run together, by what they need, oldest first: at most so many.

    The oldest is always among them, so every call's turn comes; a younger one may pass one that needs too much.
    """
    if len(needs) <= most and can_hold(needs):
        return list(range(len(needs)))
    chosen = [0]
    held = [needs[0]]
    for i in range(1, len(needs)):
        if len(chosen) < most and can_hold([*held, needs[i]]):
            chosen.append(i)
            held.append(needs[i])
    return chosen


class Sequences:
    """The context of a lane and what its sequences hold; used by one thread (but for `abort`).

    Args:
        engine: makes the context.
        spec: how large the context may become, and whether sequences may share what they begin with.

    Attributes:
        context: the context that steps run on.
        preempted: how often a call had to give its sequence up.

    Raises:
        ModelError: there is no memory for the smallest context.
    """

    def __init__(self, engine: Engine, spec: LaneSpec) -> None:
        self.preempted = 0
        self.context: Context = engine.context(spec)
        self._exact = spec.slots == 1
        self._n_ctx = spec.n_ctx
        self._reusable = engine.info.kv_reuse
        # Tokens that calls without a sequence are going to share, so that no memory was counted for them.
        self._promised: dict[Slot, int] = {}
        self._prefixes = PrefixCache(
            self.context.n_seq,
            share_cost=self.context.share_cost,
            separate=self.context.separate,
            on=spec.prefix_cache and self._reusable,
            piece=spec.n_batch if self._exact else None,
        )

    def fit(self, slots: Sequence[Slot]) -> list[Slot]:
        """Make room for what the calls have to compute; returns those that take part in the next step.

        Raises:
            ModelError: there is no memory for the oldest call, even alone.
        """
        most = len(slots)
        while True:
            needs = [self._need(slot) for slot in slots]
            chosen = admitted(needs, self.context.can_hold, most)
            taken = [slots[i] for i in chosen]
            if len(taken) < len(slots):
                self._preempt([slot for slot in slots if slot not in taken])
            try:
                moved = self.context.fit([needs[i] for i in chosen], self._prefixes.residents)
            except ModelError:
                self._move({}, slots)
                if len(taken) == 1:
                    raise
                most = len(taken) - 1
                continue
            if moved is not None:
                self._move(moved, slots)
            return taken

    def _need(self, slot: Slot) -> Need:
        if slot.sequence is not None:
            return Need(slot.n_tokens, slot.sequence.number)
        if self.context.separate:
            return Need(slot.n_tokens)
        wait = slot.wait if slot.wait is not None and not slot.wait.over else None
        source, shared = self._prefixes.source(slot.ids, slot.key) if wait is None else wait.source
        self._promised[slot] = shared
        return Need(min(slot.n_tokens + _HEADROOM, self._n_ctx), -1, source, shared)

    def _move(self, moved: Mapping[int, int], slots: Sequence[Slot]) -> None:
        """Follow a move of the context: sequences have other numbers, or are empty and will be computed again."""
        self._prefixes.move(moved, self.context.n_seq, self.context.share_cost)
        for slot in slots:
            if slot.sequence is not None and not slot.sequence.running:
                slot.rewind(exact=self._exact)

    def place(self, slots: Sequence[Slot], room: int) -> tuple[int, int]:
        """Give sequences to the calls that need not wait for a prefix.

        Returns what sharing costs, in rows of prompts, and how many tokens need not be computed.
        """
        used = saved = 0
        for slot in slots:
            if slot.sequence is not None or (slot.wait is not None and not slot.wait.over):
                continue
            found = self._prefixes.find(slot.ids, slot.key)
            if isinstance(found, AwaitedPrefix):
                slot.wait = found
                continue
            cost = len(found.copies) * self.context.share_cost
            # The prefix that was to be shared may be overwritten by now, and no memory was counted for it.
            if found.kept >= self._promised.pop(slot, 0) and (not cost or not used or used + cost <= room):
                self._start(slot, found)
                used += cost
                saved += found.kept
        return used, saved

    def _start(self, slot: Slot, choice: SequenceChoice) -> None:
        slot.start(self._prefixes.take(choice, slot.ids, slot.key))
        for source, target, length in choice.copies:
            self.context.share(source, target, length)
        if choice.held > choice.kept:
            self.context.cut(choice.number, choice.kept)

    def leave(self, slot: Slot) -> None:
        """Take a call's sequence back; it may stay as a resident."""
        sequence = slot.sequence
        self._promised.pop(slot, None)
        if sequence is not None and not self._prefixes.leave(sequence, slot.leave()):
            self.context.clear(sequence.number)

    def undo(self, batch: Batch, slots: Sequence[Slot]) -> None:
        """Cut off the rows of a step that was stopped; where KV cannot be cut, everything is computed again."""
        if not self._reusable:
            self.reset(slots)
            return
        for number, n in Counter(batch.sequences).items():
            self.context.cut(number, self._prefixes.undo(number, n))

    def reset(self, slots: Sequence[Slot]) -> None:
        """Clear the context, as it is unknown what it holds; calls that live will be computed again."""
        self.context.clear(-1)
        self._prefixes.clear()
        for slot in slots:
            slot.rewind(exact=self._exact)

    def abort(self, on: bool) -> None:
        """Make the running step stop soon; off again with False; thread-safe."""
        self.context.abort(on)

    def close(self) -> None:
        """Free the context; idempotent."""
        self.context.close()

    def _preempt(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            if slot.sequence is not None:
                self.leave(slot)
                slot.pause()
                self.preempted += 1
