"""Calls that kill their workers: run again once, alone, and refused after two deaths (F-09, F-11)."""

from __future__ import annotations

import os
import signal

import pytest
from crash_pools import WAIT, crash_pool, wait_up

from poolinfer import DeadlineExceeded, Raw, WorkerLost
from poolinfer._executors.workers.patience import Patience
from poolinfer.testing import wait_until

pytestmark = pytest.mark.usefixtures("both_kinds")


def test_F11_a_poison_call_kills_two_workers_and_no_more():
    with crash_pool(slots=4, factory_options={"step_delay": 0.05}) as (pool, executor):
        poison = pool.submit(Raw("!SEGV@0"))
        innocent = [pool.submit(Raw(f"innocent {n}")) for n in range(3)]
        with pytest.raises(WorkerLost) as lost:
            poison.result(WAIT)
        assert lost.value.suspect
        for n, call in enumerate(innocent):
            assert call.result(WAIT).text == f"innocent {n}"
        assert executor.stats().crashed == 2
        with pytest.raises(WorkerLost, match="refused") as lost:
            pool.raw("!SEGV@0", timeout=WAIT)
        assert lost.value.suspect
        assert pool.raw("hello").text == "hello"
        assert executor.stats().crashed == 2


def test_F09_bad_requests_do_not_break_the_pool():
    with crash_pool(workers=2, slots=1) as (pool, executor):
        bad = [pool.submit(Raw(f"{n}!SEGV@0")) for n in range(2)]
        for call in bad:
            with pytest.raises(WorkerLost) as lost:
                call.result(WAIT)
            assert lost.value.suspect
        assert pool.raw("hello", timeout=WAIT).text == "hello"
        assert executor.stats().crashed == 4
        assert not executor.stats().broken


@pytest.mark.parametrize(("at", "retries"), [(9, 1), (0, 0)], ids=["seen", "not run again"])
def test_F09_bad_requests_that_do_not_run_again_do_not_break_the_pool_either(at, retries):
    with crash_pool(workers=2, retries=retries, factory_options={"step_delay": 0.01}) as (pool, executor):
        for n in range(5):
            with pytest.raises(WorkerLost):
                pool.raw(f"number {n} !SEGV@{at}", timeout=WAIT)
        assert pool.raw("hello", timeout=WAIT).text == "hello"
        assert executor.stats().crashed == 5
        assert not executor.stats().broken


def test_F11_a_call_that_kills_in_mid_stream_is_refused_after_two_workers():
    with crash_pool(factory_options={"step_delay": 0.03}) as (pool, executor):
        for text in ("the first !SEGV@9", "the second !SEGV@9"):
            suspects = []
            for _ in range(3):
                with pytest.raises(WorkerLost) as lost:
                    pool.raw(text, timeout=WAIT)
                suspects.append(lost.value.suspect)
            assert suspects == [False, True, True]
        assert executor.stats().crashed == 4
        assert pool.raw("hello", timeout=WAIT).text == "hello"


def test_F11_a_call_that_hangs_until_its_deadline_is_refused_after_two_workers():
    with crash_pool(cancel_grace=0.2, patience=Patience(tick=0.1, term=0.2)) as (pool, executor):
        for n in (1, 2):
            with pytest.raises(DeadlineExceeded):
                pool.raw("hello !HANG@3", timeout=0.5)
            wait_until(lambda n=n: executor.stats().crashed == n, timeout=WAIT)
            wait_up(executor)
        with pytest.raises(WorkerLost, match="refused"):
            pool.raw("hello !HANG@3", timeout=WAIT)
        assert pool.raw("hello", timeout=WAIT).text == "hello"


def test_F11_an_equal_call_that_ends_well_is_suspected_no_more():
    with crash_pool(slots=2, factory_options={"step_delay": 0.05}) as (pool, executor):
        for _ in range(3):
            call = pool.submit(Raw("hello"))
            reader = iter(call)
            assert next(reader).text
            os.kill(executor.pids[0], signal.SIGSEGV)
            with pytest.raises(WorkerLost) as lost:
                call.result(WAIT)
            assert not lost.value.suspect
            assert pool.raw("hello", timeout=WAIT).text == "hello"


def test_F11_a_kill_from_outside_makes_no_call_a_suspect():
    with crash_pool(slots=2, factory_options={"step_delay": 0.05}) as (pool, executor):
        for n in range(2):
            call = pool.submit(Raw("a popular prompt"))
            reader = iter(call)
            assert next(reader).text
            os.kill(executor.pids[0], signal.SIGKILL)
            with pytest.raises(WorkerLost):
                call.result(WAIT)
            wait_until(lambda n=n: executor.stats().crashed == n + 1, timeout=WAIT)
            wait_up(executor)
        assert pool.raw("a popular prompt", timeout=WAIT).text == "a popular prompt"


def test_P4_a_call_of_which_nothing_was_seen_runs_again():
    with crash_pool(workers=2, slots=2, factory_options={"step_delay": 0.2}) as (pool, executor):
        calls = [pool.submit(Raw(f"call {n}", max_tokens=2)) for n in range(8)]
        wait_until(lambda: executor.stats().busy == 4)
        os.kill(executor.pids[0], signal.SIGKILL)
        assert [call.result(WAIT).text for call in calls] == ["ca"] * 8
        assert executor.stats().crashed == 1


def test_a_cancelled_call_does_not_run_again():
    with crash_pool(factory_options={"step_delay": 0.3}) as (pool, executor):
        call = pool.submit(Raw("hello"))
        wait_until(lambda: executor.stats().busy == 1)
        os.kill(executor.pids[0], signal.SIGSTOP)
        call.cancel()
        os.kill(executor.pids[0], signal.SIGKILL)
        wait_up(executor)
        wait_until(lambda: pool.stats().busy == 0)
        assert executor.stats().prompt_tokens == 0
