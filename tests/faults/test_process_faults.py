"""What befalls a worker process, and what its calls see of it. Named by `docs/reliability.md`."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
from crash_pools import WAIT, crash_pool, make_executor, wait_up

from poolinfer import (
    DeadlineExceeded,
    InvalidRequest,
    Model,
    ModelError,
    Pool,
    PoolBroken,
    Raw,
    WorkerLost,
    demo_model,
)
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.sizing import Sizing
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.restarts import RestartLimit
from poolinfer._executors.workers.spawner import WorkerProgram
from poolinfer._system.machine import rss
from poolinfer._wire import frames
from poolinfer.testing import wait_until
from poolinfer.testing._crash import crash_program

pytestmark = pytest.mark.usefixtures("both_kinds")


def test_F01_a_kill_in_mid_stream_costs_one_call():
    with crash_pool(workers=2, slots=1, factory_options={"step_delay": 0.02}) as (pool, executor):
        before = set(executor.pids)
        doomed = pool.submit(Raw("doomed!KILL@8 " * 3))
        other = pool.submit(Raw("x" * 60))
        with pytest.raises(WorkerLost) as lost:
            doomed.result(WAIT)
        assert lost.value.signal == signal.SIGKILL
        assert lost.value.exitcode is None
        assert "doomed!K".startswith(lost.value.partial)
        assert lost.value.partial
        assert not lost.value.suspect
        assert other.result(WAIT).text == "x" * 60
        wait_up(executor, 2)
        assert len(before & set(executor.pids)) == 1
        assert executor.stats().crashed == 1


@pytest.mark.parametrize("kind", ["HANG", "STOP", "DEAF"])
def test_F02_a_worker_that_hangs_is_killed_after_the_grace(kind):
    with crash_pool(cancel_grace=0.3, patience=Patience(tick=0.1, term=0.3)) as (pool, executor):
        before = executor.pids
        with pytest.raises(DeadlineExceeded):
            pool.raw(f"hello !{kind}@3", timeout=0.5)
        assert pool.raw("hello").text == "hello"
        assert before != executor.pids
        wait_until(lambda: pool.stats().busy == 0)


@pytest.mark.parametrize("kind", ["STOP", "DEAF"])
def test_F02_a_worker_that_is_stopped_or_keeps_its_lock_is_found_out_by_its_silence(kind):
    with crash_pool(patience=Patience(tick=0.1, silent=1.0, term=0.3), retries=0) as (pool, executor):
        doomed, expired = pool.submit(Raw(f"hello !{kind}@3")), pool.submit(Raw("hello", timeout=0.5))
        with pytest.raises(WorkerLost, match="not answered"):
            doomed.result(WAIT)
        with pytest.raises((DeadlineExceeded, WorkerLost)):
            expired.result(WAIT)
        assert pool.raw("hello").text == "hello"
        assert executor.stats().crashed == 1


@pytest.mark.parametrize("kind", ["STOP", "DEAF"])
def test_F02_a_deadline_is_kept_whatever_the_worker_does(kind):
    with crash_pool(slots=1, patience=Patience(tick=0.1, silent=1.0, term=0.3)) as (pool, _):
        stuck, queued = pool.submit(Raw(f"!{kind}@1", timeout=0.5)), pool.submit(Raw("hello", timeout=0.5))
        began = time.monotonic()
        for call in (stuck, queued):
            with pytest.raises(DeadlineExceeded):
                call.result(WAIT)
        assert time.monotonic() - began < 4


def test_F02_a_worker_that_hangs_is_found_out_without_a_cancel():
    with crash_pool(patience=Patience(tick=0.1, stuck=1.0, term=0.3), retries=0) as (pool, _):
        with pytest.raises(WorkerLost, match="no progress"):
            pool.raw("hello !HANG@3")
        assert pool.raw("hello").text == "hello"


def test_F05_a_worker_that_leaks_is_recycled_between_calls():
    with crash_pool() as (_, executor):
        base = rss(executor.pids[0])
    with crash_pool(sizing=Sizing(max_rss=base + 100 * 2**20)) as (pool, executor):
        before = executor.pids
        for _ in range(4):
            assert pool.raw("!LEAK@1").text == "!LEAK@1"
        wait_until(lambda: executor.stats().recycled >= 1, "the leaking worker is replaced", WAIT)
        wait_up(executor)
        assert executor.pids != before
        assert executor.stats().crashed == 0


def test_a_worker_is_recycled_after_max_calls():
    with crash_pool(sizing=Sizing(max_calls=3), slots=2) as (pool, executor):
        texts = [reply.text for reply in pool.map([Raw(f"call {n}") for n in range(10)])]
        assert texts == [f"call {n}" for n in range(10)]
        assert executor.stats().recycled >= 2
        assert executor.stats().crashed == 0


@pytest.mark.parametrize(
    ("kind", "exitcode", "number"),
    [
        ("EXIT0", 0, None),
        ("EXIT1", 1, None),
        ("ABRT", None, signal.SIGABRT),
        ("SEGV", None, signal.SIGSEGV),
        ("KILL", None, signal.SIGKILL),
    ],
)
def test_F06_every_kind_of_end_is_a_lost_worker(kind, exitcode, number):
    with crash_pool(retries=0) as (pool, _):
        with pytest.raises(WorkerLost) as lost:
            pool.raw(f"!{kind}@0")
        assert (lost.value.exitcode, lost.value.signal) == (exitcode, number)
        assert not lost.value.suspect
        if kind == "SEGV":
            assert "Segmentation fault" in lost.value.stderr_tail
        assert pool.raw("hello").text == "hello"


def test_F07_the_death_of_an_idle_worker_costs_no_call():
    with crash_pool() as (pool, executor):
        assert pool.raw("hello").text == "hello"
        before = executor.pids
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: executor.stats().crashed == 1, timeout=WAIT)
        wait_up(executor)
        assert executor.pids != before
        assert pool.raw("hello").text == "hello"
        assert pool.stats().failed == 0


@pytest.mark.parametrize(
    ("kind", "words"), [("ERROR", "told not to load"), ("SEGV", "told to crash"), ("EXIT0", "exit status 0")]
)
def test_F08_a_worker_that_cannot_boot_ends_the_start(kind, words):
    with pytest.raises(ModelError, match=words), crash_pool(workers=2, factory_options={"fail_load": kind}):
        pass


def test_F08_a_model_file_that_is_missing_ends_the_start():
    executor = ProcessExecutor(ModelSpec("/does/not/exist.gguf", (0, 0, 0, 0)), LaneSpec())
    with pytest.raises(ModelError, match="exist"), Pool(executor=executor):
        pass


def test_F58_a_worker_refuses_a_model_file_that_was_replaced(tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copyfile(demo_model(), path)
    spec = Model.load(path).spec
    policy = Patience(restarts=RestartLimit(most=2, first=0.01))
    with Pool(executor=ProcessExecutor(spec, LaneSpec(n_ctx=256), patience=policy)) as pool:
        assert pool.raw("a", max_tokens=1).usage.completion_tokens == 1
        shutil.copyfile(demo_model(), tmp_path / "new.gguf")
        (tmp_path / "new.gguf").rename(path)
        assert pool.raw("a", max_tokens=1).usage.completion_tokens == 1
        os.kill(pool._lifecycle._executor.pids[0], signal.SIGKILL)
        wait_until(lambda: not pool._lifecycle._executor.pids, "no worker is tried any more", WAIT)
        with pytest.raises(PoolBroken, match="changed"):
            pool.raw("a", max_tokens=1, timeout=WAIT)


def test_F08_an_engine_from_elsewhere_is_refused(prefork):
    for factory in ("os:system", "poolinfer.testing._crash:load", "poolinfer._engine.llama.library:inherit"):
        program = WorkerProgram(factory=factory)
        executor = ProcessExecutor(ModelSpec("", (0, 0, 0, 0)), LaneSpec(), program=program, prefork=prefork)
        with pytest.raises(ModelError, match=f"{factory} is not an engine"), Pool(executor=executor):
            pass


def test_F08_the_workers_of_tests_load_the_engine_of_tests_and_nothing_else():
    program = replace(crash_program(), factory="poolinfer._engine.llama.library:load")
    with pytest.raises(ModelError, match="is not an engine"), crash_pool(program=program):
        pass


def test_F09_a_crash_loop_breaks_the_pool():
    with crash_pool(patience=Patience(restarts=RestartLimit(first=0.01))) as (pool, executor):
        for n in range(4):
            wait_up(executor)
            os.kill(executor.pids[0], signal.SIGSEGV)
            wait_until(lambda n=n: executor.stats().crashed == n + 1, timeout=WAIT)
        with pytest.raises(PoolBroken, match="SIGSEGV"):
            pool.raw("hello", timeout=WAIT)
        wait_until(lambda: not executor.pids, timeout=WAIT)
        assert pool.stats().busy == 0


def test_F09_workers_that_no_longer_boot_break_the_pool(tmp_path, prefork):
    factory_options = {"fail_load": "ERROR", "once": str(tmp_path / "once")}
    policy = Patience(restarts=RestartLimit(most=2, first=0.01))
    with crash_pool(factory_options=factory_options, patience=policy) as (pool, executor):
        if prefork:
            os.kill(executor.zygote, signal.SIGKILL)
            wait_until(lambda: executor.zygote is None)
        with pytest.raises(PoolBroken, match="not to load"):
            pool.raw("!KILL@0", timeout=WAIT)


def test_F10_a_frame_half_written_by_a_worker():
    with crash_pool(retries=0) as (pool, _):
        with pytest.raises(WorkerLost):
            pool.raw("!HALF@0")
        assert pool.raw("hello").text == "hello"


def test_F10_a_frame_half_read_by_a_worker():
    with crash_pool() as (pool, executor):
        os.kill(executor.pids[0], signal.SIGSTOP)
        call = pool.submit(Raw("x" * 3_000_000))
        wait_until(lambda: executor.stats().busy == 1)
        os.kill(executor.pids[0], signal.SIGKILL)
        # Run again by another worker, which finds that it does not fit.
        with pytest.raises(InvalidRequest, match="tokens"):
            call.result(WAIT)


def test_F62_a_flood_of_output_changes_nothing():
    with crash_pool(retries=0) as (pool, executor):
        assert pool.raw("!FLOOD@1").text == "!FLOOD@1"
        with pytest.raises(WorkerLost) as lost:
            pool.raw("!EXIT1@0")
        assert lost.value.stderr_tail.endswith("flood")
        assert 8000 < len(lost.value.stderr_tail) <= 8192
        assert executor.stats().crashed == 1


def test_F63_garbage_from_a_worker_costs_the_worker():
    with crash_pool(retries=0, factory_options={"step_delay": 0.02}) as (pool, executor):
        with pytest.raises(WorkerLost, match="protocol"):
            pool.raw("hello !GARBAGE@3")
        wait_up(executor)
        assert pool.raw("hello").text == "hello"


def test_a_log_handler_that_raises_costs_no_worker_and_no_call(prefork):
    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError(f"a handler of the host: {record.getMessage()}")

    logger, handler = logging.getLogger("poolinfer"), Broken()
    logger.addHandler(handler)
    try:
        with crash_pool(slots=2) as (pool, executor):
            with pytest.raises(WorkerLost):
                pool.raw("hello !SEGV@1", timeout=WAIT)
            if prefork:
                zygote = executor.zygote
                os.kill(zygote, signal.SIGKILL)
                wait_until(lambda: executor.zygote not in (None, zygote), timeout=WAIT)
            assert pool.raw("hello", timeout=WAIT).text == "hello"
            executor._supervisor.run_soon(lambda: 1 / 0)
            with pytest.raises(PoolBroken, match="ZeroDivisionError"):
                pool.raw("hello !HANG@0", timeout=WAIT)
    finally:
        logger.removeHandler(handler)


def test_a_request_too_long_to_send_fails_by_itself(monkeypatch):
    with crash_pool() as (pool, _):
        monkeypatch.setattr(frames, "MAX_FRAME", 2000)
        with pytest.raises(InvalidRequest, match="sent"):
            pool.raw("x" * 3000, timeout=WAIT)
        assert pool.raw("hello").text == "hello"


def test_close_during_restarts_is_bounded():
    executor = make_executor(workers=2, factory_options={"load_delay": 0.5})
    pool = Pool(executor=executor)
    pool.start()
    for pid in executor.pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: executor.stats().crashed == 2, timeout=WAIT)
    began = time.monotonic()
    pool.close(0)
    assert time.monotonic() - began < WAIT
    assert executor.pids == ()


def test_close_while_workers_hang():
    with crash_pool(workers=2, slots=1, patience=Patience(stop=0.3, term=0.2)) as (pool, executor):
        calls = [pool.submit(Raw("!HANG@1")), pool.submit(Raw("!STOP@1"))]
        wait_until(lambda: executor.stats().busy == 2)
        pool.close(0)
        assert all(call.done() for call in calls)
    assert executor.pids == ()
