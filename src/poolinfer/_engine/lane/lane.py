"""A lane: a thread that steps one context for the calls in its slots, and contexts for texts to embed and to rank.

    inbox ──> _admit ──> Generator.step ──> Embedder.step, Ranker.step ──> Pace.observe, and again

Calls join and leave between steps. The pace says how many tokens of prompts and texts a step may compute.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any

from ..._data.errors import POOL_WAS_CLOSED, EngineError, PoolinferError
from ..._data.specs import LaneSpec
from ..._data.stats import LaneCounters
from ..._system.logs import SafeLog
from ..engine_protocol import Engine, EngineAborted, EngineFault
from .embedder import Embedder, EmbedTask
from .generator import Generator
from .pace import EvenPace, Pace
from .ranker import Ranker, RankTask
from .slot import Slot, Task
from .text_computer import TextComputer, TextTask

_log = SafeLog()
# How long a lane waits for a call that is being prepared: a share of its last step, and seconds at most.
_WAIT_SHARE = 0.05
_WAIT_SECONDS = 0.005
_LONG_STEP_SECONDS = 0.005


class Lane:
    """Runs tasks. `run` is the main of its thread; the other methods may be called from any thread.

    Args:
        engine: the model that computes.
        spec: how many calls at a time, of how many tokens.
        clock: returns monotonic seconds.
        flush: called after each step and before a long one, when events were emitted that should not wait.
    """

    def __init__(
        self,
        engine: Engine,
        spec: LaneSpec,
        clock: Callable[[], float] = time.monotonic,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self.counters = LaneCounters()
        self._spec = spec
        self._clock = clock
        self._flush = flush
        self._pace = Pace(spec.latency_target, spec.n_batch) if spec.slots > 1 else EvenPace(spec.n_batch)
        self._generator = Generator(engine, spec, self.counters, clock, flush)
        alone = spec.slots == 1
        embedder = Embedder(engine, spec.n_ctx, alone=alone)
        ranker = Ranker(engine, spec.n_ctx, alone=alone)
        self._computers: dict[type[Task], TextComputer[Any, Any]] = {EmbedTask: embedder, RankTask: ranker}
        self._wake = threading.Condition()
        self._inbox: deque[Task] = deque()
        self._expected = 0
        self._closing = self._over = False
        self._last_step = 0.0

    def expect(self) -> None:
        """Note that a task for this lane is being prepared; `add` or `unexpect` is called later."""
        with self._wake:
            self._expected += 1

    def unexpect(self) -> None:
        """Note that an expected task does not come."""
        with self._wake:
            self._expected -= 1
            self._wake.notify()

    def add(self, task: Task) -> None:
        """Take a prepared task that was expected; end it at once if the lane has ended."""
        with self._wake:
            self._expected -= 1
            if not self._over:
                self._inbox.append(task)
                self._wake.notify()
                return
        task.fail_cancelled(POOL_WAS_CLOSED)

    def cancel(self, task: Task) -> None:
        """End a task at the next step, or within the running one if no other task has a part in it."""
        task.cancelled = True
        with self._wake:
            self._wake.notify()
        if all(other.cancelled for other in self._tasks):
            self._abort(True)

    def close(self) -> None:
        """End every task with `CallCancelled` and let `run` return."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._abort(True)

    def discard(self) -> None:
        """Free what the lane holds; only for a lane that never ran."""
        self._shut()

    def run(self) -> None:
        """Step until closed. It never raises: an error ends the tasks that it concerns."""
        try:
            while self._wait():
                try:
                    self._step()
                except BaseException as error:  # SystemExit would end this thread in silence
                    _log.exception("a lane's step failed")
                    self._fail_all(EngineError(f"the engine failed: {error!r}"))
                self._flush()
        finally:
            self._shut()
            self._flush()

    def _wait(self) -> bool:
        """Wait for work; False when closing. Between steps, wait shortly for a call that is being prepared."""
        with self._wake:
            if not self._tasks:
                self._wake.wait_for(lambda: self._inbox or self._closing)
            elif self._expected and len(self._generator.slots) < self._spec.slots:
                patience = min(_WAIT_SECONDS, self._last_step * _WAIT_SHARE)
                self._wake.wait_for(lambda: not self._expected or self._closing, patience)
            return not self._closing

    def _step(self) -> None:
        self._admit()
        self._drop_cancelled()
        if self._last_step > _LONG_STEP_SECONDS:
            # Calls that have begun or ended should not have to wait until the step is over.
            self._flush()
        # Before the clock is read: growing takes long, and says nothing about the cost of steps.
        self._generator.fit()
        began = self._clock()
        decoding = self._generator.decoding
        computers = [computer for computer in self._computers.values() if computer.tasks]
        prompts = len(self._generator.slots) - decoding
        texts = sum(len(computer.tasks) for computer in computers)
        room = self._pace.prefill_budget(decoding, prompts + texts)
        # Each call that embeds or ranks gets as much room as each prompt.
        kept = min(room, max(1, room * texts // (prompts + texts))) if texts else 0
        used = self._generator.step(room - kept)
        for computer in computers:
            if used < room:
                share = max(1, (room - used) * len(computer.tasks) // texts)
                texts -= len(computer.tasks)
                used += self._step_texts(computer, share)
        self._last_step = self._clock() - began
        self._pace.observe(used, decoding, self._last_step)
        self.counters.steps += 1
        self.counters.step_seconds += self._last_step

    def _admit(self) -> None:
        with self._wake:
            tasks = list(self._inbox)
            self._inbox.clear()
        for task in tasks:
            if isinstance(task, Slot):
                self._generator.add(task)
            elif isinstance(task, TextTask) and type(task) in self._computers:
                task.begin()
                self._computers[type(task)].tasks.append(task)
            else:
                task.fail(EngineError(f"a lane cannot run a {type(task).__name__}"))

    def _drop_cancelled(self) -> None:
        # The flag is taken back first: an abort that comes before cancelled tasks have ended stops the next step.
        self._abort(self._closing)
        for task in self._tasks:
            if task.cancelled:
                self._leave(task)
                task.fail_cancelled()

    @property
    def _tasks(self) -> list[Task]:
        texts = chain.from_iterable(computer.tasks for computer in self._computers.values())
        return [*self._generator.slots, *texts]

    def _leave(self, task: Task) -> None:
        """Free a task's slot before its ending is emitted, so that the next call finds room (law L6)."""
        if isinstance(task, TextTask):
            self._computers[type(task)].tasks.remove(task)
        elif isinstance(task, Slot):
            self._generator.leave(task)

    def _step_texts(self, computer: TextComputer[Any, Any], budget: int) -> int:
        try:
            n = computer.step(budget)
            self.counters.prompt_tokens += n
            return n
        except EngineAborted:
            computer.reset()
        except (EngineFault, PoolinferError) as fault:
            computer.reset()
            for task in list(computer.tasks):
                self._leave(task)
                task.fail(EngineError(str(fault)))
        return 0

    def _abort(self, on: bool) -> None:
        self._generator.abort(on)
        for computer in self._computers.values():
            computer.abort(on)

    def _fail_all(self, error: PoolinferError) -> None:
        self._generator.reset()
        for computer in self._computers.values():
            computer.reset()
        for task in self._tasks:
            self._leave(task)
            task.fail(error)

    def _shut(self) -> None:
        with self._wake:
            self._over = True
            late = list(self._inbox)
            self._inbox.clear()
        for task in [*self._tasks, *late]:
            task.fail_cancelled(POOL_WAS_CLOSED)
        for computer in self._computers.values():
            computer.close()
        self._generator.close()
