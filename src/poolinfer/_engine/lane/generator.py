"""The generations of a lane: one context whose slots are all decoded together, step by step.

    slots ──> Sequences (who takes part) ──> _parts (how many rows each) ──> _passes (what is decoded together)
          ──> _plan (the batch) ──> decode ──> Slot.advance (sample, say, maybe end)

A slot gets a KV sequence when there is nothing to wait for: no earlier slot is computing what both their prompts
begin with. A decoding slot adds one row to each step; prompts fill up the room that the step has for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..._data.errors import EngineError, ModelError, PoolinferError
from ..._data.specs import LaneSpec
from ..._data.stats import LaneCounters
from ..engine_protocol import Batch, Engine, EngineAborted, EngineFault
from .pace import share
from .passes import groups
from .sequences import Sequences
from .slot import Slot

# Prompts of so many rows together are computed about as fast, row by row, as a whole batch.
_PASS = 64


@dataclass(slots=True)
class StepShare:
    """What a slot has in a step.

    Attributes:
        slot: whose it is.
        number: its sequence's number.
        entering: whether its tokens are of a prompt.
        rows: how many of them are computed.
    """

    slot: Slot
    number: int
    entering: bool
    rows: int = 1


class Generator:
    """Runs slots on one context; used by one thread (but for `abort`).

    Attributes:
        slots: the calls, oldest first; never more than `LaneSpec.slots`.
    """

    def __init__(
        self,
        engine: Engine,
        spec: LaneSpec,
        counters: LaneCounters,
        clock: Callable[[], float],
        flush: Callable[[], None],
    ) -> None:
        self.slots: list[Slot] = []
        self._width = engine.info.n_embd
        self._counters = counters
        self._clock = clock
        self._flush = flush
        self._sequences = Sequences(engine, spec) if engine.info.generates else None
        self._taken: list[Slot] = []
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
        if self._sequences is not None:
            self._sequences.leave(slot)

    def fit(self) -> None:
        """Make room for what the slots have to compute; the oldest one fails if there is none even for it alone."""
        self._taken = []
        if self._sequences is None or not self.slots:
            return
        try:
            self._taken = self._sequences.fit(self.slots)
        except ModelError as error:
            self._fail(self.slots[:1], EngineError(str(error)))
        self._counters.preempted = self._sequences.preempted

    def step(self, room: int) -> int:
        """Decode for all slots that `fit` found room for; how much of the room for prompt rows it took.

        Copying counts as rows.
        """
        if self._sequences is None or not self._taken:
            return 0
        sequences, batch, used = self._sequences, Batch(), 0
        try:
            used, saved = sequences.place(self._taken, room)
            self._counters.cached_tokens += saved
            parts = self._parts(max(room - used, min(room, 1)))
            used += sum(part.rows for part in parts if part.entering)
            for rows in self._passes(parts):
                if len(batch):
                    self._flush()
                batch, ready = self._plan(rows)
                sequences.context.decode(batch)
                self._counters.prompt_tokens += sum(n for part, n in rows if part.entering)
                self._advance(sequences, ready)
        except EngineAborted:
            sequences.undo(batch, self.slots)
        except EngineFault as fault:
            doubtful = [slot for slot in self.slots if slot.sequence is not None]
            sequences.reset(self.slots)
            self._fail(doubtful, EngineError(str(fault)))
        return used

    def _parts(self, room: int) -> list[StepShare]:
        """Who has how many rows in this step, by sequence number: one, or as much of a prompt as there is room for.

        llama.cpp computes rows of separate KV streams together only where their numbers follow one another.
        """
        parts = [
            StepShare(slot, slot.sequence.number, entering=not slot.decoding)
            for slot in self._taken
            if slot.sequence is not None
        ]
        entering = [part for part in parts if part.entering]
        pending = [part.slot.n_entering for part in entering]
        shares = share(pending, room, oldest_first=self._oldest_first, all_step=len(entering) < len(parts))
        self._oldest_first = bool(shares) and shares[0] < min(2, pending[0])
        for part, rows in zip(entering, shares, strict=True):
            part.rows = rows
        return sorted((part for part in parts if part.rows), key=lambda part: part.number)

    def _passes(self, parts: Sequence[StepShare]) -> list[list[tuple[StepShare, int]]]:
        """What to decode after one another, as rows of parts: the streams first, then prompts, shortest first.

        llama.cpp reads the weights anew for prompts of different lengths anyway, so each has its token when its own
        pass is over. A prompt gives the streams' pass a row, which keeps their numbers together.
        """
        passes: list[list[tuple[StepShare, int]]] = []
        left = {id(part): part.rows for part in parts}
        if any(not part.entering for part in parts):
            lengths = [(part.number, part.slot.computed + 1) for part in parts]
            for group in groups(lengths, self._width):
                if any(not parts[i].entering for i in group):
                    passes.append([(parts[i], 1) for i in group])
                    left.update((id(parts[i]), parts[i].rows - 1) for i in group)
        rows = _PASS
        for part in sorted(parts, key=lambda part: left[id(part)]):
            if n := left[id(part)]:
                if rows >= _PASS:
                    passes.append([])
                    rows = 0
                passes[-1].append((part, n))
                rows += n
        return [sorted(found, key=lambda one: one[0].number) for found in passes]

    def _plan(self, parts: Sequence[tuple[StepShare, int]]) -> tuple[Batch, list[tuple[Slot, int]]]:
        """The batch of some parts, and the slots that get a token from it with their rows."""
        batch, ready = Batch(), []
        for part, n in parts:
            slot = part.slot
            last = n == slot.n_pending
            row = batch.add(part.number, slot.computed, slot.take(n), last=last)
            if last:
                ready.append((slot, row))
        return batch, ready

    def _advance(self, sequences: Sequences, ready: list[tuple[Slot, int]]) -> None:
        now = self._clock()
        for slot, row in ready:
            slot.advance(sequences.context, row, now)
        self._counters.completion_tokens += len(ready)
        for slot, _ in ready:
            if slot.ended:
                self.leave(slot)

    def _fail(self, slots: Sequence[Slot], error: PoolinferError) -> None:
        """End calls badly; the others go on."""
        for slot in slots:
            self.leave(slot)
            slot.fail(error)

    def reset(self) -> None:
        """What the context holds is unknown: clear it; slots that live will be computed again."""
        if self._sequences is not None:
            self._sequences.reset(self.slots)

    def abort(self, on: bool) -> None:
        """Make the running step stop soon; off again with False."""
        if self._sequences is not None:
            self._sequences.abort(on)

    def close(self) -> None:
        """Free the context; idempotent."""
        self.slots.clear()
        if self._sequences is not None:
            self._sequences.close()
