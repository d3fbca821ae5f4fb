"""A lane: one context with S slots, all decoded together, one batch a step, by one thread.

    inbox ──> _admit ──> slots ──> _plan (one batch) ──> decode ──> Slot.advance (sample, say, maybe end)

Calls join and leave between steps. A decoding slot adds one row to each step; prompts fill up what the pace
allows, oldest first. Texts to embed have a context of their own and take a turn in each step.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .._errors import EngineError, PoolinferError
from .._spec import LaneSpec
from .base import Batch, Context, Engine, EngineAborted, EngineFault
from .embedder import Embedder, EmbedTask
from .pace import Pace
from .slot import Slot, Task

_log = logging.getLogger("poolinfer")
_WAIT_SHARE = 0.05
_WAIT_MOST = 0.005
_CLOSED = "the pool was closed before the call ended"


@dataclass(slots=True)
class LaneCounters:
    """What a lane has done so far; written by its thread, read by any."""

    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    step_seconds: float = 0.0


class Lane:
    """Runs tasks on one context. `run` is its thread's main; the other methods may be called from any thread."""

    def __init__(self, engine: Engine, spec: LaneSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = LaneCounters()
        self._engine = engine
        self._spec = spec
        self._clock = clock
        self._pace = Pace(spec.latency_target, spec.n_batch)
        info = engine.info
        self._context: Context | None = (
            engine.context(n_seq=spec.slots, n_ctx=spec.n_ctx) if info.generates else None
        )
        self._embedder = Embedder(engine, spec.n_ctx)
        # A heap: the lowest numbers first, so that running sequences lie side by side (see _plan).
        self._free = list(range(spec.slots))
        self._slots: list[Slot] = []
        self._embeds: list[EmbedTask] = []
        self._wake = threading.Condition()
        self._inbox: deque[Task] = deque()
        self._expected = 0
        self._closing = self._over = False
        self._last_step = 0.0

    def expect(self) -> None:
        """A task for this lane is being prepared: `add` or `unexpect` follows."""
        with self._wake:
            self._expected += 1

    def unexpect(self) -> None:
        """The expected task will not come."""
        with self._wake:
            self._expected -= 1
            self._wake.notify()

    def add(self, task: Task) -> None:
        """Take a prepared task that was expected; it ends at once when the lane has."""
        with self._wake:
            self._expected -= 1
            if not self._over:
                self._inbox.append(task)
                self._wake.notify()
                return
        task.fail_cancelled(_CLOSED)

    def cancel(self, task: Task) -> None:
        """End a task at the next step, or within the running one where no neighbour shares it."""
        task.cancelled = True
        with self._wake:
            self._wake.notify()
        if all(other.cancelled for other in [*self._slots, *self._embeds]):
            self._abort(True)

    def close(self) -> None:
        """End every task with `CallCancelled` and let `run` return."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._abort(True)

    def discard(self) -> None:
        """Free what a lane that never ran holds."""
        self._shut()

    def run(self) -> None:
        """Step until closed. Never raises: what goes wrong ends the tasks that it touches."""
        try:
            while self._wait():
                try:
                    self._step()
                except Exception as error:
                    _log.exception("a lane's step failed")
                    self._fail_all(EngineError(f"the engine failed: {error!r}"))
        finally:
            self._shut()

    def _wait(self) -> bool:
        """Wait for work; False when closing. A call about to arrive is worth a short wait between steps."""
        with self._wake:
            idle = not self._slots and not self._embeds
            if idle:
                self._wake.wait_for(lambda: self._inbox or self._closing)
            elif self._expected and self._free:
                patience = min(_WAIT_MOST, self._last_step * _WAIT_SHARE)
                self._wake.wait_for(lambda: not self._expected or self._closing, patience)
            return not self._closing

    def _step(self) -> None:
        self._admit()
        self._drop_cancelled()
        began = self._clock()
        decoding = sum(slot.decoding for slot in self._slots)
        prefilled = self._step_slots()
        budget = self._pace.prefill_budget(decoding) - prefilled
        embedded = self._step_embeds(budget) if self._embeds and budget > 0 else 0
        self._last_step = self._clock() - began
        self._pace.observe(prefilled + embedded, decoding, self._last_step)
        self.counters.steps += 1
        self.counters.prompt_tokens += prefilled + embedded
        self.counters.step_seconds += self._last_step

    def _admit(self) -> None:
        with self._wake:
            tasks = list(self._inbox)
            self._inbox.clear()
        for task in tasks:
            if isinstance(task, Slot):
                task.begin(heapq.heappop(self._free), self._clock())
                self._slots.append(task)
            elif isinstance(task, EmbedTask):
                task.begin()
                self._embeds.append(task)

    def _drop_cancelled(self) -> None:
        # First take back what an abort asked for, then drop whom it was meant for: one that comes in between
        # stops the coming step.
        self._abort(False)
        for task in [*self._slots, *self._embeds]:
            if task.cancelled:
                self._leave(task)
                task.fail_cancelled()

    def _leave(self, task: Task) -> None:
        """Give a task's sequence back, before its ending is said and makes room for another."""
        if isinstance(task, EmbedTask):
            self._embeds.remove(task)
        elif isinstance(task, Slot):
            self._slots.remove(task)
            if self._context is not None:
                self._context.clear(task.sequence)
            heapq.heappush(self._free, task.sequence)

    def _step_slots(self) -> int:
        """Decode one batch for all slots; how many prompt rows it had."""
        context = self._context
        if context is None or not self._slots:
            return 0
        batch, ready, prefilled = self._plan()
        try:
            context.decode(batch)
        except EngineAborted:
            self._rewind(context)
            return prefilled
        except EngineFault as fault:
            self._fail_slots(context, EngineError(str(fault)))
            return prefilled
        now = self._clock()
        for slot, row in ready:
            slot.advance(context, row, now)
        self.counters.completion_tokens += len(ready)
        for slot in [slot for slot in self._slots if slot.ended]:
            self._leave(slot)
        return prefilled

    def _plan(self) -> tuple[Batch, list[tuple[Slot, int]], int]:
        """The next batch, the slots that get a token from it with their rows, and how many rows are prompt."""
        room = budget = self._pace.prefill_budget(sum(slot.decoding for slot in self._slots))
        planned: list[tuple[Slot, int]] = []
        for slot in self._slots:
            n = 1 if slot.decoding else min(slot.n_pending, room)
            room -= 0 if slot.decoding else n
            if n:
                planned.append((slot, n))
        # llama.cpp computes rows of separate KV streams together only where their numbers follow one another.
        planned.sort(key=lambda plan: plan[0].sequence)
        batch, ready = Batch(), []
        for slot, n in planned:
            last = n == slot.n_pending
            row = batch.add(slot.sequence, slot.computed, slot.take(n), last=last)
            if last:
                ready.append((slot, row))
        return batch, ready, budget - room

    def _rewind(self, context: Context) -> None:
        """A step was stopped half way: what it left behind is unknown, so all is computed again."""
        context.clear(-1)
        for slot in self._slots:
            slot.rewind()

    def _fail_slots(self, context: Context, error: PoolinferError) -> None:
        for slot in list(self._slots):
            self._leave(slot)
            slot.fail(error)
        context.clear(-1)

    def _step_embeds(self, budget: int) -> int:
        try:
            n = self._embedder.step(self._embeds, budget)
            self._embeds = [task for task in self._embeds if not task.ended]
            return n
        except EngineAborted:
            self._embedder.reset()
        except (EngineFault, PoolinferError) as fault:
            self._embedder.reset()
            for task in list(self._embeds):
                self._leave(task)
                task.fail(EngineError(str(fault)))
        return 0

    def _abort(self, on: bool) -> None:
        if self._context is not None:
            self._context.abort(on)
        self._embedder.abort(on)

    def _fail_all(self, error: PoolinferError) -> None:
        for task in [*self._slots, *self._embeds]:
            self._leave(task)
            task.fail(error)
        if self._context is not None:
            self._context.clear(-1)
        self._embedder.reset()

    def _shut(self) -> None:
        with self._wake:
            self._over = True
            late = list(self._inbox)
            self._inbox.clear()
        for task in [*self._slots, *self._embeds, *late]:
            task.fail_cancelled(_CLOSED)
        self._slots.clear()
        self._embeds.clear()
        self._embedder.close()
        if self._context is not None:
            self._context.close()
            self._context = None
