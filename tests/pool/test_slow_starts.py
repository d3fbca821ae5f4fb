"""Code of others that makes and runs an executor: however long it takes, and whatever it raises, calls end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from poolinfer import DeadlineExceeded, EngineError, ModelError, Pool, PoolBroken, Raw
from poolinfer._pool import lifecycle
from poolinfer.executor import Description, Executor, LaneSpec
from poolinfer.testing import FakeExecutor, wait_until


@dataclass(frozen=True, kw_only=True)
class Made(Description):
    """Makes an executor when a test says so, or raises what it says."""

    go: threading.Event
    made: list[FakeExecutor]
    error: BaseException | None = None

    def check(self, model: Any) -> None:
        """No model is needed."""

    def make(self, model: Any, lane: LaneSpec) -> Executor:
        self.go.wait(30)
        if self.error is not None:
            raise self.error
        self.made.append(FakeExecutor())
        return self.made[-1]


def test_a_deadline_passes_while_the_executor_is_being_made():
    go = threading.Event()
    pool = Pool(executor=Made(go=go, made=[]))
    with pytest.raises(DeadlineExceeded):
        pool.submit(Raw("a", timeout=0.05)).result(20)
    go.set()
    assert pool.raw("a", timeout=20).text == "a"
    pool.close()


def test_close_does_not_wait_for_ever_for_an_executor_that_is_being_made(monkeypatch):
    """The executor is closed as soon as it is made."""
    monkeypatch.setattr(lifecycle, "_MAKE_SECONDS", 0.05)
    go, made = threading.Event(), []
    pool = Pool(executor=Made(go=go, made=made))
    call = pool.submit(Raw("a"))
    wait_until(lambda: pool.stats().state == "starting")
    pool.close(0)
    assert pool.stats().state == "closed"
    assert call.done()
    go.set()
    wait_until(lambda: made and made[0]._closed, "the executor is closed that nobody wants any more")


@pytest.mark.parametrize(
    "error", [SystemExit("no licence"), KeyboardInterrupt(), ZeroDivisionError()], ids=repr
)
def test_a_description_that_raises_breaks_its_pool_and_no_thread(error):
    go = threading.Event()
    go.set()
    pool = Pool(executor=Made(go=go, made=[], error=error))
    with pytest.raises(ModelError, match=f"failed to start: {type(error).__name__}"):
        pool.start()
    with pytest.raises(PoolBroken):
        pool.raw("a", timeout=20)
    pool.close()


def test_a_model_that_a_description_refuses_is_a_model_error():
    go = threading.Event()
    go.set()
    pool = Pool(executor=Made(go=go, made=[], error=ModelError("no such layers")))
    with pytest.raises(ModelError, match="no such layers"):
        pool.start()
    pool.close()


@pytest.mark.parametrize("method", ["start", "submit", "stats", "close"])
def test_an_executor_whose_methods_exit_leaves_no_call_behind(method, monkeypatch):
    def leave(*_: Any) -> Any:
        raise SystemExit

    executor = FakeExecutor()
    pool = Pool(executor=executor)
    if method in ("submit", "close", "stats"):
        pool.raw("a", timeout=20)
    with monkeypatch.context() as patched:
        patched.setattr(executor, method, leave)
        began = time.monotonic()
        if method == "start":
            with pytest.raises(ModelError, match="SystemExit"):
                pool.start()
        elif method == "submit":
            with pytest.raises(EngineError, match="SystemExit"):
                pool.raw("a", timeout=20)
        elif method == "stats":
            pool.raw("a", timeout=20)
        pool.close(0)
        assert time.monotonic() - began < 15
    assert pool.stats().state == "closed"
    executor.close(0)
