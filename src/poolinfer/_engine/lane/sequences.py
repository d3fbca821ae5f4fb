"""The KV sequences of a lane: a context that grows with its calls, and which of them holds what.

    fit (capacity; who must wait) ──> place (a sequence, with what is known of its prompt) ──> leave

A call that runs out of memory is not failed: the youngest give their sequences up, and go on from where they were
as soon as there is room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..._data.errors import ModelError
from ..._data.specs import LaneSpec
from ..._system.logs import SafeLog
from ..engine_protocol import Batch, Context, Engine, EngineFault
from .capacity import Bounds, Capacity, padded
from .prefix_cache import PrefixCache, SequenceChoice, Wait
from .slot import Slot

_log = SafeLog()


class Sequences:
    """The context of a lane and what its sequences hold; used by one thread (but for `abort`).

    Args:
        engine: makes contexts.
        spec: how large they may become, and whether sequences may share what they begin with.

    Attributes:
        preempted: how often a call had to give its sequence up.

    Raises:
        ModelError: there is no memory for the smallest context.
    """

    def __init__(self, engine: Engine, spec: LaneSpec) -> None:
        self.preempted = 0
        self._engine = engine
        self._exact = spec.slots == 1
        self._reusable = engine.info.kv_reuse
        most = Capacity(spec.slots, spec.n_ctx).tokens
        self._bounds = Bounds(spec.slots, spec.n_ctx, max(padded(spec.n_ctx), spec.kv_tokens or most))
        self._capacity = self._bounds.first()
        self._stopping = False
        self._context: Context | None = self._make(self._capacity)
        self._prefixes = PrefixCache(
            self._capacity.n_seq,
            self._capacity.n_ctx,
            on=spec.prefix_cache and self._reusable,
            piece=spec.n_batch if self._exact else None,
        )

    @property
    def context(self) -> Context:
        """The context that steps run on.

        Raises:
            RuntimeError: it was closed.
        """
        if self._context is None:
            raise RuntimeError("the lane has no context")
        return self._context

    def fit(self, slots: Sequence[Slot]) -> list[Slot]:
        """Make room for what the calls have to compute; those that take part in the next step, oldest first.

        Raises:
            ModelError: there is no memory for the oldest call, even alone.
        """
        while True:
            taken = [slots[i] for i in self._bounds.admit([slot.n_tokens for slot in slots])]
            capacity = self._bounds.grow(self._capacity, len(taken), max(slot.n_tokens for slot in taken))
            if len(taken) < len(slots):
                self._preempt([slot for slot in slots if slot not in taken])
            try:
                self._become(capacity, slots)
            except ModelError:
                if not self._make_do(capacity, slots):
                    raise
            else:
                return taken

    def place(self, slots: Sequence[Slot], room: int) -> tuple[int, int]:
        """Give sequences to the calls that have nothing to wait for.

        Returns what copying costs, in rows of prompts, and how many tokens need not be computed.
        """
        used = saved = 0
        for slot in slots:
            if slot.sequence is not None or (slot.wait is not None and not slot.wait.over):
                continue
            found = self._prefixes.find(slot.ids, slot.key)
            if isinstance(found, Wait):
                slot.wait = found
                continue
            cost = len(found.copies) * self._prefixes.copy_cost
            if not cost or not used or used + cost <= room:
                self._start(slot, found)
                used += cost
                saved += found.kept
        return used, saved

    def _start(self, slot: Slot, place: SequenceChoice) -> None:
        slot.start(self._prefixes.take(place, slot.ids, slot.key))
        for source, target in place.copies:
            self.context.copy(source, target)
        if place.held > place.kept:
            self.context.cut(place.number, place.kept)

    def leave(self, slot: Slot) -> None:
        """Take a call's sequence back; what it holds may serve others."""
        sequence = slot.sequence
        if sequence is not None and not self._prefixes.leave(sequence, slot.leave()) and self._context:
            self._context.clear(sequence.number)

    def undo(self, batch: Batch, slots: Sequence[Slot]) -> None:
        """A step was stopped half way: its rows are cut off again, where that is possible."""
        if not self._reusable:
            self.reset(slots)
            return
        for number, n in Counter(batch.sequences).items():
            self.context.cut(number, self._prefixes.undo(number, n))

    def reset(self, slots: Sequence[Slot]) -> None:
        """What the context holds is unknown: clear it; calls that live will be computed again."""
        if self._context is not None:
            self._context.clear(-1)
        self._prefixes.clear()
        for slot in slots:
            slot.rewind(exact=self._exact)

    def abort(self, on: bool) -> None:
        """Make the running step stop soon; off again with False; thread-safe."""
        self._stopping = on
        context = self._context
        if context is not None:
            context.abort(on)

    def close(self) -> None:
        """Free the context; idempotent."""
        context, self._context = self._context, None
        if context is not None:
            context.close()

    def _preempt(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            if slot.sequence is not None:
                self.leave(slot)
                slot.pause()
                self.preempted += 1

    def _make(self, capacity: Capacity) -> Context:
        return self._engine.context(n_seq=capacity.n_seq, n_ctx=capacity.n_ctx)

    def _become(self, capacity: Capacity, slots: Sequence[Slot]) -> None:
        """Move to another context, with what the present one holds."""
        if capacity == self._capacity:
            return
        new = self._make(capacity)
        old, self._context, self._capacity = self._context, new, capacity
        moves = self._prefixes.resize(capacity.n_seq, capacity.n_ctx)
        # Only now: `abort` tells the context that it finds.
        new.abort(self._stopping)
        if old is None:
            self.reset(slots)
            return
        try:
            for source, target in moves:
                new.adopt(old, source, target)
        except (EngineFault, MemoryError) as fault:
            _log.warning("%s; its calls are computed again", str(fault) or "there is no memory for a copy")
            self.reset(slots)
        finally:
            old.close()

    def _make_do(self, wanted: Capacity, slots: Sequence[Slot]) -> bool:
        """There is no memory for a context: do without the present one meanwhile, or else with less in all."""
        _log.warning("there is no memory for a context of %d x %d tokens", wanted.n_seq, wanted.n_ctx)
        if self._context is not None:
            self.close()
            self._prefixes.clear()
            for slot in slots:
                slot.rewind(exact=self._exact)
        elif wanted.n_seq == 1:
            return False
        else:
            self._bounds = self._bounds.halved(wanted)
        self._capacity = Capacity(0, 0)
        return True
