"""Our threads have stacks of their own size, and the host keeps its setting. Named by `docs/reliability.md`."""

from __future__ import annotations

import os
import threading

import pytest

from poolinfer._data.errors import PoolBroken
from poolinfer._system.threads import STACK_SIZE, OwnThread, call_on_stack, start_in_pool


def test_threads_have_a_stack_of_their_own_whatever_the_host_has_set(run_script):
    ended = run_script(
        """
        import threading
        threading.stack_size(64 * 1024)
        import poolinfer
        with poolinfer.Pool(poolinfer.demo_model(), workers=2, slots=2) as pool:
            answers = list(pool.map([f"What is {n} + {n}?" for n in range(8)], max_tokens=8))
            pool.embed("a text")
            assert len(answers) == 8 and all(answer.text for answer in answers)
        assert threading.stack_size() == 64 * 1024, threading.stack_size()
        print("alive")
        """
    )
    assert ended.stdout == "alive\n", (ended.returncode, ended.stderr[-2000:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_threads_start_finds_the_hosts_setting_and_can_start_threads(run_script):
    ended = run_script(
        """
        import os, signal, threading, warnings
        from poolinfer._system.threads import OwnThread

        warnings.simplefilter("ignore")
        threading.stack_size(128 * 1024)
        over = threading.Event()

        def churn():
            while not over.is_set():
                thread = OwnThread(int, "short")
                thread.start()
                thread.join()

        churner = threading.Thread(target=churn)
        churner.start()
        for _ in range(40):
            child = os.fork()
            if not child:
                signal.alarm(20)
                fine = threading.stack_size() == 128 * 1024
                thread = OwnThread(int, "child's")
                thread.start()
                thread.join()
                os._exit(0 if fine else 3)
            assert os.waitpid(child, 0)[1] == 0
        over.set()
        churner.join()
        print("alive")
        """
    )
    assert ended.stdout == "alive\n", (ended.returncode, ended.stderr[-2000:])


def test_the_hosts_stack_size_is_its_own_again(monkeypatch):
    found: list[int] = []
    before = threading.stack_size()
    monkeypatch.setattr(threading.Thread, "start", lambda _: found.append(threading.stack_size()))
    OwnThread(lambda: None, "test").start()
    assert found == [STACK_SIZE]
    assert threading.stack_size() == before


def test_a_stack_size_that_the_host_sets_meanwhile_stays(monkeypatch):
    before = threading.stack_size()
    monkeypatch.setattr(threading.Thread, "start", lambda _: threading.stack_size(2**20))
    try:
        OwnThread(lambda: None, "test").start()
        assert threading.stack_size() == 2**20
    finally:
        threading.stack_size(before)


def test_a_call_on_a_stack_returns_and_raises():
    assert call_on_stack(lambda: threading.current_thread().name, 2**20, "deep") == "deep"
    with pytest.raises(ZeroDivisionError):
        call_on_stack(lambda: 1 // 0, 2**20, "deep")


def test_a_pool_without_room_for_its_thread_says_so(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    before = threading.stack_size()
    with pytest.raises(PoolBroken, match="the pool cannot start a thread: can't start new thread"):
        start_in_pool(OwnThread(lambda: None, "test"))
    assert threading.stack_size() == before
