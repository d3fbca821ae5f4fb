"""The laws L1 to L9, over every executor."""

from __future__ import annotations

import pytest

from poolinfer import Model, Raw
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.llama.library import load
from poolinfer._executors.thread import ThreadExecutor
from poolinfer.testing import ExecutorContract, FakeEngine, FakeExecutor


class TestFakeExecutor(ExecutorContract):
    long = Raw("word " * 2000)

    def make_executor(self):
        return FakeExecutor(slots=self.slots)


class TestFakeExecutorWithOneSlot(TestFakeExecutor):
    slots = 1


class _OverFakeEngine(ExecutorContract):
    long = Raw("x" * 1500)

    def make_executor(self):
        self.engine = FakeEngine()
        return self.engine.executor(workers=self.workers, slots=self.slots, n_ctx=4096)

    def teardown_method(self):
        assert self.engine.leaks() in ([], ["the engine is open"])


class TestThreadExecutor(_OverFakeEngine):
    pass


class TestThreadExecutorWithOneSlot(_OverFakeEngine):
    slots = 1


class TestThreadExecutorWithThreeWorkers(_OverFakeEngine):
    workers, slots = 3, 2


class TestThreadExecutorWithSlowSteps(_OverFakeEngine):
    def make_executor(self):
        self.engine = FakeEngine(step_delay=0.002)
        return self.engine.executor(workers=self.workers, slots=self.slots, n_ctx=4096)


class TestThreadExecutorWithPagedKV(_OverFakeEngine):
    def make_executor(self):
        self.engine = FakeEngine(block_size=32)
        return self.engine.executor(workers=self.workers, slots=self.slots, n_ctx=4096)


@pytest.mark.usefixtures("spec")
class TestThreadExecutorWithTheDemoModel(ExecutorContract):
    workers, slots = 2, 2
    long = Raw("Count", max_tokens=400, temperature=1.5, seed=1)

    @pytest.fixture
    def spec(self, tiny: Model):
        self.model = tiny.spec

    def make_executor(self):
        spec, lane = self.model, LaneSpec(slots=self.slots, n_ctx=512)
        return ThreadExecutor(lambda cancelled: load(spec, lane, cancelled), workers=self.workers, lane=lane)
