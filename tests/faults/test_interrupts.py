"""Ctrl-C while a call is waited for, read or mapped, and at every line of our code (F-25, F-26)."""

from __future__ import annotations

import ast
import functools
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from settled import settled

import poolinfer
from poolinfer import CallCancelled, Pool, Raw
from poolinfer.testing import FakeExecutor, wait_until

SRC = str(Path(poolinfer.__file__).parent)


def test_f25_ctrl_c_while_waiting_for_a_result():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a"))
        _interrupt_when(lambda: call._ticket._waiters)
        with pytest.raises(KeyboardInterrupt):
            call.result()
        _expect_cancelled_and_usable(pool, executor, call)


def test_f25_ctrl_c_while_reading():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.stream("a")
        _interrupt_when(lambda: call._ticket._readers)
        with pytest.raises(KeyboardInterrupt):
            for _ in call:
                pass
        _expect_cancelled_and_usable(pool, executor, call)


def test_f25_ctrl_c_in_map():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        _interrupt_when(lambda: pool.stats().accepted == 5)
        with pytest.raises(KeyboardInterrupt):
            list(pool.map(["a"] * 9, window=5))
        wait_until(lambda: pool.stats().cancelled == 5)
        wait_until(lambda: executor.cancelled == executor.taken)
        executor.step()
        settled(pool)


def _interrupt_when(condition):
    def wait():
        wait_until(condition)
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait).start()


def _expect_cancelled_and_usable(pool, executor, call):
    with pytest.raises(CallCancelled):
        call.result()
    wait_until(lambda: executor.cancelled == executor.taken)
    executor.step()
    again = pool.submit(Raw("b"))
    wait_until(lambda: len(executor.jobs) == 1)
    executor.finish(executor.taken[-1])
    assert again.result().text == ""
    settled(pool)


def test_f25_ctrl_c_in_a_script(run_script):
    """Ctrl-C as a person types it: the pool can still be used, and the process ends well."""
    done = run_script(
        """
        import os, signal, threading
        from poolinfer import Pool, Raw
        from poolinfer.testing import FakeEngine, fake_pool, wait_until

        engine = FakeEngine(tokens=10**6, step_delay=0.01)
        with fake_pool(engine) as pool:
            def interrupt():
                wait_until(lambda: engine.steps > 3)
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=interrupt).start()
            try:
                pool.raw("abc")
            except KeyboardInterrupt:
                print("interrupted")
            engine.tokens = 2
            print(pool.raw("xyz").text)
        print(engine.leaks())
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\nxy\n[]\n", "")


class Interrupter:
    """Raises KeyboardInterrupt at the n-th line that the main thread runs in the library (trace events)."""

    def __init__(self, n):
        self.left = n
        self.where = ""
        self._last = {}

    def __enter__(self):
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _enter(self, frame, event, arg):
        above = frame
        while above is not None:
            # Python cannot deliver what is raised in a finaliser.
            if above.f_code.co_name == "__del__":
                return None
            above = above.f_back
        return self._line if frame.f_code.co_filename.startswith(SRC) else None

    def _line(self, frame, event, arg):
        if event == "line" and not self._leaves_a_block(frame):
            self.left -= 1
            if self.left == 0:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise KeyboardInterrupt
        return self._line

    def _leaves_a_block(self, frame):
        """Whether a ``with`` is about to call ``__exit__``, or a ``try`` to do nothing: no signal strikes there."""
        before, self._last[id(frame)] = self._last.get(id(frame), 0), frame.f_lineno
        blocks, tries = _blocks(frame.f_code.co_filename)
        return frame.f_lineno in tries or frame.f_lineno < before <= blocks.get(frame.f_lineno, 0)


@functools.cache
def _blocks(path):
    """The last line of each ``with`` block by its first, and the lines of ``try``."""
    nodes = list(ast.walk(ast.parse(Path(path).read_text())))
    blocks = {node.lineno: node.end_lineno for node in nodes if isinstance(node, ast.With)}
    return blocks, {node.lineno for node in nodes if isinstance(node, ast.Try)}


def _ask(pool):
    return pool.submit(Raw("a b")).result().text


def _cancel(pool):
    call = pool.submit(Raw("a b"))
    call.cancel()
    return "a b"


def _read(pool):
    return "".join(piece.text for piece in pool.submit(Raw("a b")))


@pytest.fixture
def quick_collections():
    """Garbage is looked for only among what the test makes, so that looking often takes no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("work", [_ask, _read, _cancel])
def test_f26_ctrl_c_at_every_line(work, quick_collections):
    """Wherever Ctrl-C strikes in submit, result, iteration and cancel, no call is lost and no slot."""
    bad = []
    for n in range(1, 2000):
        with Pool(executor=FakeExecutor()) as pool:
            interrupter = Interrupter(n)
            try:
                with interrupter:
                    assert work(pool) == "a b"
            except KeyboardInterrupt:
                pass
            gc.collect()
            trouble = _trouble(pool)
            if trouble:
                bad.append(f"{interrupter.where}: {trouble}")
                pool.close(0)
            if not interrupter.where or len(bad) > 5:
                break
    assert not bad, "\n".join(bad)
    assert n > 30
    assert interrupter.where == ""


def _trouble(pool):
    """What is wrong with a pool that has nothing to do."""
    try:
        wait_until(lambda: pool.stats().running + pool.stats().waiting + pool.stats().busy == 0, timeout=1)
        assert pool.submit(Raw("c d")).result(timeout=3).text == "c d"
        stats = pool.stats()
    except Exception as error:
        return repr(error)
    ended = stats.succeeded + stats.failed + stats.cancelled + stats.expired
    live = len(pool._lifecycle._dispatcher._live)
    fine = stats.accepted == ended + live and live == 0
    return "" if fine else f"accepted {stats.accepted}, ended {ended}, live {live}"
