"""The laws L1 to L9 over worker processes, started by exec and forked by a zygote."""

from __future__ import annotations

import os
import signal

import pytest

from poolinfer import Model, Raw
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._executors.process import ProcessExecutor
from poolinfer.testing import ExecutorContract
from poolinfer.testing._crash import crash_program

NO_MODEL = ModelSpec("", (0, 0, 0, 0))


class _OverProcesses(ExecutorContract):
    def kill_worker(self, executor):
        os.kill(executor.pids[0], signal.SIGKILL)
        return True


class TestProcessExecutor(_OverProcesses):
    long = Raw("x" * 1500)
    prefork = False

    def make_executor(self):
        lane = LaneSpec(slots=self.slots, n_ctx=4096)
        return ProcessExecutor(
            NO_MODEL, lane, workers=self.workers, program=crash_program(), prefork=self.prefork
        )


class TestProcessExecutorWithTwoWorkers(TestProcessExecutor):
    workers, slots = 2, 2


class TestProcessExecutorWithThreeWorkers(TestProcessExecutor):
    workers, slots = 3, 4


class TestPrefork(TestProcessExecutor):
    prefork = True


class TestPreforkWithTwoWorkers(TestPrefork):
    workers, slots = 2, 2


class TestPreforkWithThreeWorkers(TestPrefork):
    workers, slots = 3, 4


@pytest.mark.usefixtures("spec")
class TestProcessExecutorWithTheDemoModel(_OverProcesses):
    workers, slots = 2, 2
    prefork = False
    long = Raw("Count", max_tokens=400, temperature=1.5, seed=1)

    @pytest.fixture
    def spec(self, tiny: Model):
        self.model = tiny.spec

    def make_executor(self):
        lane = LaneSpec(slots=self.slots, n_ctx=512)
        return ProcessExecutor(self.model, lane, workers=self.workers, prefork=self.prefork)


class TestPreforkWithTheDemoModel(TestProcessExecutorWithTheDemoModel):
    workers, slots = 3, 2
    prefork = True
