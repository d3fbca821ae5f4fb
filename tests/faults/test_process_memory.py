"""Memory that goes from under a worker process, ends that it did not mean, and pools side by side."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
from crash_pools import crash_pool

from poolinfer import Chat, EngineError, Model, Pool, PoolBroken, WorkerLost, demo_model
from poolinfer._data.specs import LaneSpec
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.restarts import RestartLimit
from poolinfer.testing import wait_until
from poolinfer.testing._crash import CrashEngine

WAIT = 40.0
PERU = "The capital of Peru is Lima."
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prlimit")


@linux
def test_F59_a_model_file_truncated_under_the_workers(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    shutil.copyfile(demo_model(), path)
    patience = Patience(restarts=RestartLimit(most=2, first=0.01))
    executor = ProcessExecutor(
        Model.load(path).spec, LaneSpec(n_ctx=256), workers=2, share="mmap", retries=0, patience=patience
    )
    with Pool(executor=executor) as pool:
        assert pool.raw("a", max_tokens=1).usage.completion_tokens == 1
        os.truncate(path, 4096)
        with pytest.raises(WorkerLost) as lost:
            pool.raw("a", max_tokens=1, timeout=WAIT)
        assert lost.value.signal == signal.SIGBUS
        # Its successors find another file; the other worker lives until it is used.
        with pytest.raises((WorkerLost, PoolBroken)):
            pool.raw("a", max_tokens=1, timeout=WAIT)
        wait_until(lambda: not executor.pids, "no worker is tried any more", WAIT)
        # Another request: the one before may be in quarantine.
        with pytest.raises(PoolBroken, match="changed"):
            pool.raw("b", max_tokens=1, timeout=WAIT)


def _bound_memory(pid: int, more: int | None) -> None:
    """Let a process take this many more bytes; None for no bound."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    most = resource.RLIM_INFINITY if more is None else pages * resource.getpagesize() + more
    resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


@linux
def test_F04_an_allocation_that_fails_in_the_engine_costs_its_call(tiny: Model) -> None:
    """The allocation that fails is the one for the first embedding, which needs a context of its own."""
    executor = ProcessExecutor(tiny.spec, LaneSpec(n_ctx=65536, slots=1), workers=1, retries=0)
    with Pool(executor=executor) as pool:
        assert pool.chat("What is the capital of Peru?", temperature=0).text == PERU
        _bound_memory(executor.pids[0], 2 * 2**20)
        with pytest.raises((EngineError, WorkerLost)):
            pool.embed("hello " * 300, timeout=WAIT)
        for pid in executor.pids:
            _bound_memory(pid, None)
        assert pool.chat("What is the capital of Peru?", temperature=0, timeout=WAIT).text == PERU
        assert pool.embed("hello", timeout=WAIT).dimensions > 0


def test_F04_a_worker_killed_from_outside_may_have_been_out_of_memory() -> None:
    with crash_pool(retries=0) as (pool, _):
        with pytest.raises(WorkerLost, match=r"SIGKILL \(out of memory\?\)") as lost:
            pool.raw("!KILL@0", timeout=WAIT)
        assert lost.value.signal == signal.SIGKILL
        assert pool.raw("hello", timeout=WAIT).text == "hello"


def test_F06_an_exit_inside_the_engine_is_no_cancel_in_a_worker() -> None:
    with crash_pool(retries=0) as (pool, _):
        with pytest.raises((EngineError, WorkerLost)):
            pool.raw("hello !SYSEXIT@3", timeout=WAIT)
        assert pool.raw("hello", timeout=WAIT).text == "hello"


def test_F06_an_exit_inside_the_engine_is_no_cancel_in_a_thread() -> None:
    with Pool(executor=CrashEngine().executor(workers=1, slots=2)) as pool:
        with pytest.raises(EngineError, match="SystemExit"):
            pool.raw("hello !SYSEXIT@3", timeout=WAIT)
        assert pool.raw("hello", timeout=WAIT).text == "hello"


def test_F06_an_exit_while_a_prompt_is_prepared_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pool(executor=CrashEngine().executor(workers=1, slots=2)) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(CrashEngine, "tokenize", lambda *_, **__: sys.exit(0))
            with pytest.raises(EngineError, match="SystemExit"):
                pool.raw("hello", timeout=WAIT)
        assert pool.raw("hello", timeout=WAIT).text == "hello"


@pytest.mark.parametrize("other", ["thread", "process"])
def test_F17_two_pools_work_side_by_side(other: str, tiny: Model) -> None:
    with (
        Pool(tiny, executor="process", workers=1, slots=2, n_ctx=256) as first,
        Pool(tiny, executor=other, workers=1, slots=2, n_ctx=256) as second,
    ):
        calls = [
            pool.submit(Chat("What is the capital of Peru?", temperature=0)) for pool in [first, second] * 8
        ]
        assert [call.result(WAIT).text for call in calls] == [PERU] * 16
        first.close()
        assert second.chat("What is the capital of Peru?", temperature=0, timeout=WAIT).text == PERU
