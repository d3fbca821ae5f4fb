"""The generations of a lane: one context whose slots are all decoded together, one batch a step.

    slots ──> _place (sequences) ──> _plan (one batch) ──> decode ──> Slot.advance (sample, say, maybe end)

A slot gets a KV sequence when there is nothing to wait for: no earlier slot is computing what both their prompts
begin with. A decoding slot adds one row to each step; prompts fill up the room that the step has for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .._errors import EngineError, PoolinferError
from .._spec import LaneSpec
from .base import Batch, Context, Engine, EngineAborted, EngineFault
from .pace import share
from .prefix import Place, PrefixCache, Wait
from .slot import Slot


@dataclass(slots=True)
class LaneCounters:
    """What a lane has done so far; written by its thread, read by any."""

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    step_seconds: float = 0.0


class Generator:
    """Runs slots on one context; used by one thread (but for `abort`).

    Attributes:
        slots: the calls, oldest first; never more than `LaneSpec.slots`.
    """

    def __init__(
        self, engine: Engine, spec: LaneSpec, counters: LaneCounters, clock: Callable[[], float]
    ) -> None:
        self.slots: list[Slot] = []
        self._info = engine.info
        self._counters = counters
        self._clock = clock
        self._context: Context | None = None
        if self._info.generates:
            self._context = engine.context(n_seq=spec.slots, n_ctx=spec.n_ctx)
        reuse = spec.prefix_cache and self._info.kv_reuse
        self._prefixes = PrefixCache(spec.slots, spec.n_ctx, on=reuse)
        self._oldest_first = False

    @property
    def decoding(self) -> int:
        """How many slots have their prompt behind them."""
        return sum(slot.decoding for slot in self.slots)

    def add(self, slot: Slot) -> None:
        """Take a call in."""
        slot.begin(self._clock())
        self.slots.append(slot)

    def leave(self, slot: Slot) -> None:
        """Give a call's place back, before its ending is said and makes room for another."""
        self.slots.remove(slot)
        sequence = slot.sequence
        if sequence is None or self._context is None:
            return
        if not self._prefixes.leave(sequence, slot.leave()):
            self._context.clear(sequence.number)

    def step(self, room: int) -> int:
        """Decode one batch for all slots; how much of the room for prompt rows it took, copying included."""
        context = self._context
        if context is None or not self.slots:
            return 0
        batch, used = Batch(), 0
        try:
            used = self._place(context, room)
            batch, ready, prefilled = self._plan(max(room - used, min(room, 1)))
            used += prefilled
            context.decode(batch)
        except EngineAborted:
            self._undo(context, batch)
        except EngineFault as fault:
            self._fail(EngineError(str(fault)))
        else:
            self._advance(context, ready)
        return used

    def _place(self, context: Context, room: int) -> int:
        """Give sequences to the slots that have nothing to wait for; what copying costs, in prompt rows."""
        used = 0
        for slot in self.slots:
            if slot.sequence is not None or (slot.wait is not None and not slot.wait.over):
                continue
            found = self._prefixes.find(slot.ids, slot.key)
            if isinstance(found, Wait):
                slot.wait = found
                continue
            cost = len(found.copies) * self._prefixes.copy_cost
            if not cost or not used or used + cost <= room:
                self._start(context, slot, found)
                used += cost
        return used

    def _start(self, context: Context, slot: Slot, place: Place) -> None:
        slot.start(self._prefixes.take(place, slot.ids, slot.key))
        for source, target in place.copies:
            context.copy(source, target)
        if place.held > place.kept:
            context.cut(place.number, place.kept)
        self._counters.cached_tokens += place.kept

    def _plan(self, room: int) -> tuple[Batch, list[tuple[Slot, int]], int]:
        """The next batch, the slots that get a token from it with their rows, and how many rows are prompt."""
        placed = [(slot, slot.sequence) for slot in self.slots if slot.sequence is not None]
        entering = [slot for slot, _ in placed if not slot.decoding]
        pending = [slot.n_pending for slot in entering]
        shares = share(pending, room, oldest_first=self._oldest_first, all_step=len(entering) < len(placed))
        self._oldest_first = bool(shares) and shares[0] < min(2, pending[0])
        rows = dict(zip(entering, shares, strict=True))
        # llama.cpp computes rows of separate KV streams together only where their numbers follow one another.
        placed.sort(key=lambda pair: pair[1].number)
        batch, ready = Batch(), []
        for slot, sequence in placed:
            n = rows.get(slot, 1)
            if n:
                last = n == slot.n_pending
                row = batch.add(sequence.number, slot.computed, slot.take(n), last=last)
                if last:
                    ready.append((slot, row))
        self._counters.prompt_tokens += sum(shares)
        return batch, ready, sum(shares)

    def _advance(self, context: Context, ready: list[tuple[Slot, int]]) -> None:
        now = self._clock()
        for slot, row in ready:
            slot.advance(context, row, now)
        self._counters.completion_tokens += len(ready)
        for slot in [slot for slot in self.slots if slot.ended]:
            self.leave(slot)

    def _undo(self, context: Context, batch: Batch) -> None:
        """A step was stopped half way: its rows are cut off again, where that is possible."""
        if not self._info.kv_reuse:
            self.reset()
            return
        for number, n in Counter(batch.sequences).items():
            context.cut(number, self._prefixes.undo(number, n))

    def _fail(self, error: PoolinferError) -> None:
        """A step failed: that ends those who had part in it, and those who waited go on."""
        doubtful = [slot for slot in self.slots if slot.sequence is not None]
        self.reset()
        for slot in doubtful:
            self.leave(slot)
            slot.fail(error)

    def reset(self) -> None:
        """What the context holds is unknown: clear it; slots that live will be computed again."""
        if self._context is not None:
            self._context.clear(-1)
        self._prefixes.clear()
        for slot in self.slots:
            slot.rewind()

    def abort(self, on: bool) -> None:
        """Make the running step stop soon; off again with False."""
        if self._context is not None:
            self._context.abort(on)

    def close(self) -> None:
        """Free the context; idempotent."""
        self.slots.clear()
        if self._context is not None:
            self._context.close()
            self._context = None
