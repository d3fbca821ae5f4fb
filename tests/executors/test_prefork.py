"""What is special about forked workers: their zygote, what they share, and where they are refused."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from queue import SimpleQueue

import pytest
from crash_pools import WAIT, crash_pool, make_executor, wait_up

from poolinfer import InvalidRequest, Model, ModelError, Pool, PoolBroken, Raw, demo_model
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.llama import library
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.sizing import Sizing
from poolinfer._executors.workers import zygote
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.restarts import RestartLimit
from poolinfer.testing import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prefork needs Linux")
PERU = "What is the capital of Peru?", "The capital of Peru is Lima."


def _kill_zygote(executor: ProcessExecutor) -> None:
    pid = executor.zygote
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: executor.zygote != pid, "the zygote's death is noticed", WAIT)


def test_F13_workers_go_on_when_their_zygote_is_killed():
    with crash_pool(prefork=True, workers=2, slots=1, factory_options={"step_delay": 0.01}) as (
        pool,
        executor,
    ):
        calls = [pool.submit(Raw("x" * 100)) for _ in range(2)]
        readers = [iter(call) for call in calls]
        assert all(next(reader).text for reader in readers)
        before = executor.pids
        _kill_zygote(executor)
        assert [call.result(WAIT).text for call in calls] == ["x" * 100] * 2
        assert executor.pids == before
        assert executor.stats().crashed == 0


def test_F13_a_new_zygote_replaces_workers_and_ends_the_old_ones():
    with crash_pool(prefork=True, workers=2) as (pool, executor):
        old = executor.pids
        _kill_zygote(executor)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: executor.stats().crashed == 2, timeout=WAIT)
        wait_up(executor, 2)
        assert pool.raw("hello").text == "hello"
        assert not set(old) & set(executor.pids)
        last = executor.pids
        _kill_zygote(executor)
    assert not any(Path(f"/proc/{pid}").exists() and zygote._runs(pid) for pid in last)


def test_F13_orphans_that_hang_are_killed_too():
    with crash_pool(prefork=True, cancel_grace=0.2, patience=Patience(tick=0.1, term=0.2)) as (
        pool,
        executor,
    ):
        call = pool.submit(Raw("hello !HANG@3"))
        # A call that is cancelled before it hangs would hang nothing.
        wait_until(lambda: call.partial == "hel", timeout=WAIT)
        (stuck,) = executor.pids
        _kill_zygote(executor)
        call.cancel()
        assert pool.raw("hello", timeout=WAIT).text == "hello"
        assert stuck not in executor.pids
        wait_until(lambda: not zygote._runs(stuck), timeout=WAIT)


def test_F13_without_a_zygote_to_be_had_the_pool_breaks(tmp_path):
    factory_options = {"fail_load": "SEGV", "once": str(tmp_path / "once")}
    patience = Patience(tick=0.1, restarts=RestartLimit(most=2, first=0.01))
    with crash_pool(prefork=True, factory_options=factory_options, patience=patience) as (pool, executor):
        _kill_zygote(executor)
        assert pool.raw("hello").text == "hello"
        os.kill(executor.pids[0], signal.SIGKILL)
        wait_until(lambda: pool.stats().state == "broken", timeout=WAIT)
        with pytest.raises(PoolBroken, match="SIGSEGV"):
            pool.raw("hello")


def test_F13_a_zygote_that_dies_again_and_again_waits_until_it_is_wanted():
    with crash_pool(prefork=True) as (pool, executor):
        for _ in range(4):
            wait_until(lambda: (found := executor._spawner._zygote) and found.up, "the zygote is up", WAIT)
            _kill_zygote(executor)
        found = SimpleQueue()
        executor._supervisor.run_soon(lambda: found.put(executor.zygote))
        assert found.get(timeout=WAIT) is None
        assert pool.raw("hello", timeout=WAIT).text == "hello"
        os.kill(executor.pids[0], signal.SIGKILL)
        wait_until(lambda: executor.zygote is not None, timeout=WAIT)
        assert pool.raw("hello", timeout=WAIT).text == "hello"


def test_F13_a_zygote_that_is_stopped_holds_up_no_closing(monkeypatch):
    monkeypatch.setattr(zygote, "_STUCK_SECONDS", 1000.0)
    monkeypatch.setattr(zygote, "_STOPPED_SECONDS", 0.2)
    with crash_pool(prefork=True) as (_, executor):
        os.kill(executor.zygote, signal.SIGSTOP)
        pid = executor.pids[0]
        began = time.monotonic()
    assert time.monotonic() - began < 8
    assert not zygote._runs(pid)


def test_F13_a_zygote_that_does_not_answer_is_replaced(monkeypatch):
    monkeypatch.setattr(zygote, "_STUCK_SECONDS", 0.5)
    with crash_pool(prefork=True, patience=Patience(tick=0.1)) as (pool, executor):
        stuck = executor.zygote
        os.kill(stuck, signal.SIGSTOP)
        os.kill(executor.pids[0], signal.SIGKILL)
        assert pool.raw("hello", timeout=WAIT).text == "hello"
        assert executor.zygote not in (None, stuck)


@pytest.mark.parametrize(
    ("kind", "words"), [("SEGV", "SIGSEGV"), ("EXIT1", "exit status 1"), ("ERROR", "not to load")]
)
def test_F08_a_zygote_that_cannot_load_ends_the_start(kind, words):
    executor = make_executor(prefork=True, workers=3, factory_options={"fail_load": kind})
    with pytest.raises(ModelError, match=words) as caught, Pool(executor=executor):
        pass
    if kind != "ERROR":
        assert "told to crash" in str(caught.value) or kind == "EXIT1"
    assert executor.zygote is None


def test_a_zygote_with_threads_forks_nobody():
    executor = make_executor(prefork=True, factory_options={"threads": 1})
    with pytest.raises(ModelError, match="2 threads"), Pool(executor=executor):
        pass


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_zygote_killed_while_it_loads_ends_the_start(signal_number):
    executor = make_executor(prefork=True, factory_options={"load_delay": 300.0})
    pool = Pool(executor=executor)
    call = pool.submit(Raw("hello"))
    wait_until(lambda: executor.zygote is not None, timeout=WAIT)
    os.kill(executor.zygote, signal_number)
    with pytest.raises(ModelError, match=signal.Signals(signal_number).name):
        call.result(WAIT)
    pool.close()


def test_forked_workers_compute_with_several_threads(tiny: Model):
    lane = LaneSpec(slots=2, n_ctx=512, threads=2)
    with Pool(executor=ProcessExecutor(tiny.spec, lane, workers=2, prefork=True)) as pool:
        for _ in range(3):
            assert pool.chat(PERU[0], temperature=0, timeout=WAIT).text == PERU[1]


def test_F58_forked_workers_keep_the_file_that_was_loaded(tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copy(demo_model(), path)
    executor = ProcessExecutor(Model.load(path).spec, LaneSpec(slots=1, n_ctx=512), prefork=True)
    with Pool(executor=executor) as pool:
        other = tmp_path / "other.gguf"
        other.write_bytes(b"no model")
        other.rename(path)
        os.kill(executor.pids[0], signal.SIGKILL)
        wait_until(lambda: executor.stats().crashed == 1, timeout=WAIT)
        assert pool.chat(PERU[0], temperature=0, timeout=WAIT).text == PERU[1]


def test_F75_no_gpu_layers(tmp_path):
    with pytest.raises(ModelError, match="n_gpu_layers=4"):
        Pool(Model.load(demo_model(), n_gpu_layers=4), executor="prefork")


def test_F75_no_library_that_found_a_gpu(monkeypatch):
    class Api:
        def llama_supports_gpu_offload(self):
            return True

    library.check_forkable()
    monkeypatch.setattr(library._library.bindings, "_api", Api())
    with pytest.raises(ModelError, match="GPU"):
        library.check_forkable()


@pytest.mark.parametrize(
    ("executor", "platform", "words"),
    [("prefork", "darwin", "'process'"), ("prefork", "win32", "'thread'"), ("process", "win32", "'thread'")],
)
def test_systems_that_have_no_such_executor(monkeypatch, executor, platform, words):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(ModelError, match=words):
        Pool(demo_model(), executor=executor)


@pytest.mark.parametrize("prefork", [False, True], ids=["process", "prefork"])
def test_workers_come_with_the_load_and_go_without(prefork):
    sizing = Sizing(least=1, most=3, idle_timeout=0.3)
    options = {"sizing": sizing, "patience": Patience(tick=0.05), "factory_options": {"step_delay": 0.02}}
    with crash_pool(prefork=prefork, slots=1, **options) as (pool, executor):
        assert pool.stats().workers == 1
        load = [pool.submit(Raw("x" * 4000)) for _ in range(4)]
        wait_up(executor, 3)
        for call in load:
            call.cancel()
        calls = [pool.submit(Raw(f"hello {n}")) for n in range(6)]
        assert [call.result(WAIT).text for call in calls] == [f"hello {n}" for n in range(6)]
        wait_up(executor, 1)
        assert pool.raw("hello").text == "hello"
        stats = pool.stats()
        assert (stats.crashed, stats.recycled) == (0, 0)


@pytest.mark.parametrize("prefork", [False, True], ids=["process", "prefork"])
def test_workers_are_recycled_by_age(prefork):
    with crash_pool(prefork=prefork, sizing=Sizing(max_age=0.2), patience=Patience(tick=0.05)) as (
        pool,
        executor,
    ):
        before = executor.pids
        wait_until(lambda: pool.stats().recycled >= 1, timeout=WAIT)
        assert pool.raw("hello", timeout=WAIT).text == "hello"
        assert executor.pids != before
        assert pool.stats().crashed == 0


def test_a_pool_says_what_its_workers_cost(tiny: Model):
    with Pool(tiny, executor="prefork", workers=2) as pool:
        wait_until(lambda: len(pool.stats().memory) == 2, timeout=WAIT)
        assert all(2**20 < cost < 2**30 for cost in pool.stats().memory)


@pytest.mark.parametrize(
    "options",
    [
        {"executor": "thread", "max_workers": 2},
        {"executor": "process", "workers": 2, "max_workers": 3},
        {"executor": "prefork", "min_workers": 3, "max_workers": 2},
    ],
)
def test_numbers_of_workers_that_contradict_each_other(tiny: Model, options):
    with pytest.raises(InvalidRequest, match="workers"):
        Pool(tiny, **options)
