"""The generations of a lane: one context whose slots are all decoded together, step by step.

    slots ──> Sequences (who takes part) ──> _shares (how many rows each) ──> Context.passes (what is decoded
          together) ──> _plan (the batch) ──> decode ──> Slot.advance (sample, emit, maybe end)

A slot gets a KV sequence unless an earlier slot is just computing what both their prompts begin with: then it
waits for that prefix. A decoding slot adds one row to each step; prompts get the rest of the room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..._data.errors import EngineError, ModelError, PoolinferError
from ..._data.specs import LaneSpec
from ..._data.stats import LaneCounters
from ..engine_protocol import Batch, Engine, EngineAborted, EngineFault, StepShare
from .pace import prompt_rows
from .prompt_scorer import PromptScorer
from .sequences import Sequences
from .slot import Slot

#: What scores rows of a decode: the index of the first row, and the positions of all of them.
_Scored: TypeAlias = tuple[PromptScorer, int, range]


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
        self._counters = counters
        self._clock = clock
        self._flush = flush
        self._sequences = Sequences(engine, spec) if engine.info.generates else None
        self._taken: list[Slot] = []
        self._oldest_first = False

    @property
    def decoding(self) -> int:
        """How many slots have computed their prompt."""
        return sum(slot.decoding for slot in self.slots)

    def add(self, slot: Slot) -> None:
        """Take a call in."""
        slot.begin(self._clock())
        self.slots.append(slot)

    def leave(self, slot: Slot) -> None:
        """Free a call's slot before its ending is emitted, so that the next call finds room (law L6)."""
        self.slots.remove(slot)
        if self._sequences is not None:
            self._sequences.leave(slot)

    def fit(self) -> None:
        """Make room for what the slots have to compute; if there is no room even for the oldest alone, it fails."""
        self._taken = []
        if self._sequences is None or not self.slots:
            return
        try:
            self._taken = self._sequences.fit(self.slots)
        except ModelError as error:
            self._fail(self.slots[:1], EngineError(str(error)))
        self._counters.preempted = self._sequences.preempted

    def step(self, room: int) -> int:
        """Decode for all slots that `fit` found room for; returns how many prompt rows that took.

        Copying a prefix counts as rows.
        """
        if self._sequences is None or not self._taken:
            return 0
        sequences, batch, used = self._sequences, Batch(), 0
        try:
            used, saved = sequences.place(self._taken, room)
            self._counters.cached_tokens += saved
            slots, shares = self._shares(sequences, max(room - used, min(room, 1)))
            used += sum(share.rows for share in shares if share.entering)
            for chosen in sequences.context.passes(shares):
                if len(batch):
                    self._flush()
                batch, ready, scored = self._plan([(slots[i], n) for i, n in chosen])
                sequences.context.decode(batch)
                for scorer, row, positions in scored:
                    scorer.take(sequences.context, row, positions)
                self._counters.prompt_tokens += sum(n for i, n in chosen if shares[i].entering)
                self._advance(sequences, ready)
        except EngineAborted:
            sequences.undo(batch, self.slots)
        except EngineFault as fault:
            doubtful = [slot for slot in self.slots if slot.sequence is not None]
            sequences.reset(self.slots)
            self._fail(doubtful, EngineError(str(fault)))
        return used

    def _shares(self, sequences: Sequences, room: int) -> tuple[list[Slot], list[StepShare]]:
        """Who takes part in this step, by sequence number, and with what.

        A slot that decodes has one row, a prompt as many as there is room for.
        """
        taking = [slot for slot in self._taken if slot.sequence is not None]
        entering = [slot for slot in taking if not slot.decoding]
        # A gap in the numbers of those that decode costs more than a row of a prompt.
        close_gaps = sequences.context.separate and len(entering) < len(taking)
        pending = _pending(entering, sequences.context.score_rows)
        rows = self._prompt_rows(entering, pending, room, all_step=close_gaps)
        slots = sorted((slot for slot in taking if rows.get(slot, 1)), key=_number)
        return slots, [
            StepShare(_number(slot), slot.computed, rows.get(slot, 1), slot in rows) for slot in slots
        ]

    def _prompt_rows(
        self, entering: list[Slot], pending: list[int], room: int, *, all_step: bool
    ) -> dict[Slot, int]:
        rows = prompt_rows(pending, room, oldest_first=self._oldest_first, all_step=all_step)
        self._oldest_first = bool(rows) and rows[0] < min(2, pending[0])
        return dict(zip(entering, rows, strict=True))

    def _plan(
        self, chosen: Sequence[tuple[Slot, int]]
    ) -> tuple[Batch, list[tuple[Slot, int]], list[_Scored]]:
        """The batch for so many tokens of each slot; which slots get a token from which row; and what is scored."""
        batch, ready, scored = Batch(), [], []
        for slot, n in chosen:
            position, tokens = slot.take(n)
            last = position + n == slot.n_tokens
            row = batch.add(_number(slot), position, tokens, last=last)
            if last:
                ready.append((slot, row))
            if slot.scorer is not None and (wanted := slot.scorer.wanted(position, n)):
                first = row + 1 - n + wanted.start - position
                batch.outputs[first : first + len(wanted)] = [True] * len(wanted)
                scored.append((slot.scorer, first, wanted))
        return batch, ready, scored

    def _advance(self, sequences: Sequences, ready: list[tuple[Slot, int]]) -> None:
        now = self._clock()
        for slot, row in ready:
            slot.advance(sequences.context, row, now)
        self._counters.completion_tokens += sum(slot.generates for slot, _ in ready)
        for slot, _ in ready:
            if slot.ended:
                self.leave(slot)

    def _fail(self, slots: Sequence[Slot], error: PoolinferError) -> None:
        """End calls badly; the others go on."""
        for slot in slots:
            self.leave(slot)
            slot.fail(error)

    def reset(self) -> None:
        """Clear the context, as it is unknown what it holds; slots that live will be computed again."""
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


def _pending(entering: Sequence[Slot], score_rows: int) -> list[int]:
    """How many rows each prompt may have in a step: what it still needs, but of rows to score only its share.

    Args:
        entering: the slots that compute prompts, oldest first.
        score_rows: how many rows of the step may be scored, for all of them together.
    """
    n_scoring = sum(slot.scorer is not None for slot in entering)
    left, pending = score_rows, []
    for slot in entering:
        n, room = slot.n_entering, None
        if slot.scorer is not None:
            share = min(left, max(1, score_rows // n_scoring))
            left -= share
            room = slot.scorer.room(slot.computed, share)
        pending.append(n if room is None else min(n, room))
    return pending


def _number(slot: Slot) -> int:
    """The number of a slot's sequence.

    Raises:
        RuntimeError: the slot has no sequence.
    """
    if slot.sequence is None:
        raise RuntimeError("a slot without a sequence takes no part in a step")
    return slot.sequence.number
