"""The laws L1 to L9 over the process executor."""

from __future__ import annotations

import os
import signal

import pytest

from poolinfer import Model, Raw
from poolinfer._executors.process import ProcessExecutor
from poolinfer._spec import LaneSpec, ModelSpec
from poolinfer.testing import ExecutorContract

NO_MODEL = ModelSpec("", (0, 0, 0, 0))
CRASH = "poolinfer.testing._crash:load"


class _OverProcesses(ExecutorContract):
    def kill_worker(self, executor):
        os.kill(executor.pids[0], signal.SIGKILL)
        return True


class TestProcessExecutor(_OverProcesses):
    long = Raw("x" * 1500)

    def make_executor(self):
        lane = LaneSpec(slots=self.slots, n_ctx=4096)
        return ProcessExecutor(NO_MODEL, lane, workers=self.workers, factory=CRASH)


class TestProcessExecutorWithTwoWorkers(TestProcessExecutor):
    workers, slots = 2, 2


@pytest.mark.usefixtures("spec")
class TestProcessExecutorWithTheDemoModel(_OverProcesses):
    workers, slots = 2, 2
    long = Raw("Count", max_tokens=400, temperature=1.5, seed=1)

    @pytest.fixture
    def spec(self, tiny: Model):
        self.model = tiny.spec

    def make_executor(self):
        return ProcessExecutor(self.model, LaneSpec(slots=self.slots, n_ctx=512), workers=self.workers)
