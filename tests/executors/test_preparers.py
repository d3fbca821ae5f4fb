"""Requests are prepared beside one another: none waits for a stalled one. Named by `docs/reliability.md`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from poolinfer import Chat, DeadlineExceeded, Embed, Pool, Raw
from poolinfer._checks.normalize import normalize
from poolinfer._data.events import Failed
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._executors.preparers import Preparers, is_large
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.thread import ThreadExecutor
from poolinfer._executors.workers.patience import Patience
from poolinfer.testing import FakeEngine, wait_until
from poolinfer.testing._crash import crash_program
from poolinfer.testing._executor_under_test import ExecutorUnderTest

WAIT = 20.0
HUGE = "!" + "word " * 10_000


class Stalling(FakeEngine):
    """An engine that stalls at a text that begins with ``!`` until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.stalled = threading.Event()
        self.seen: list[str] = []

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        if not text.startswith("<|"):
            self.seen.append(text[:2])
        if text.startswith("!"):
            self.stalled.set()
            self.go_on.wait(WAIT)
        return super().tokenize(text, add_special=add_special, parse_special=parse_special)


@contextmanager
def stalling(*, slots: int = 4) -> Iterator[tuple[Stalling, ThreadExecutor]]:
    engine = Stalling()
    executor = engine.executor(slots=slots, n_ctx=100_000)
    try:
        yield engine, executor
    finally:
        engine.go_on.set()
        executor.close(0.0)


def test_one_huge_prompt_does_not_stall_the_others():
    with stalling() as (engine, executor), Pool(executor=executor) as pool:
        huge = pool.submit(Raw(HUGE, max_tokens=1))
        assert engine.stalled.wait(WAIT)
        assert [pool.raw(text, timeout=WAIT).text for text in ("one", "two", "three")] == [
            "one",
            "two",
            "three",
        ]
        assert not huge.done()
        engine.go_on.set()
        assert huge.result(WAIT).usage.prompt_tokens == len(HUGE)


def test_large_prompts_are_prepared_in_their_order():
    with stalling() as (engine, executor), Pool(executor=executor) as pool:
        calls = [pool.submit(Raw(f"!{n}{HUGE}", max_tokens=1)) for n in range(3)]
        engine.go_on.set()
        for call in calls:
            call.result(WAIT)
        assert engine.seen == ["!0", "!1", "!2"]


def test_a_call_behind_a_stalled_preparation_ends_when_it_is_cancelled():
    with stalling() as (engine, executor):
        bench = ExecutorUnderTest(executor, WAIT)
        _, first = bench.submit(Raw("!first", max_tokens=1))
        assert engine.stalled.wait(WAIT)
        second_id, second = bench.submit(Raw("second", max_tokens=1))
        executor.cancel(second_id)
        ending = second.wait(WAIT)
        assert isinstance(ending, Failed)
        assert ending.kind == "CallCancelled"
        assert threading.current_thread() not in second.threads
        assert not first.over.is_set()
        assert executor.stats().busy == 1
        engine.go_on.set()
        first.wait(WAIT)


def test_a_deadline_frees_the_caller_while_a_neighbours_preparation_stalls():
    with stalling() as (engine, executor), Pool(executor=executor) as pool:
        first = pool.submit(Raw("!first", max_tokens=1))
        assert engine.stalled.wait(WAIT)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            pool.raw("second", timeout=0.2)
        assert time.monotonic() - began < WAIT / 2
        wait_until(lambda: pool.stats().busy == 1, "its slot is free again", WAIT)
        engine.go_on.set()
        first.result(WAIT)


def test_a_worker_is_not_lost_with_a_call_that_waited_behind_a_stalled_preparation():
    executor = ProcessExecutor(
        ModelSpec("", (0, 0, 0, 0)),
        LaneSpec(slots=4, n_ctx=4096),
        workers=1,
        program=crash_program(),
        cancel_grace=0.3,
        patience=Patience(tick=0.1, term=0.3),
    )
    with Pool(executor=executor) as pool:
        pool.raw("warm")
        first = pool.submit(Raw("!STALL first", max_tokens=3))
        with pytest.raises(DeadlineExceeded):
            pool.raw("second", timeout=0.2)
        assert first.result(WAIT).text == "!ST"
        assert executor.stats().crashed == 0


def test_a_call_that_is_cancelled_while_it_is_prepared_never_runs():
    with stalling() as (engine, executor):
        bench = ExecutorUnderTest(executor, WAIT)
        job_id, witness = bench.submit(Raw("!first", max_tokens=1))
        assert engine.stalled.wait(WAIT)
        executor.cancel(job_id)
        engine.go_on.set()
        ending = witness.wait(WAIT)
        assert isinstance(ending, Failed)
        assert ending.kind == "CallCancelled"


def test_texts_to_embed_are_not_all_tokenized_for_a_call_that_is_cancelled():
    with stalling() as (engine, executor):
        bench = ExecutorUnderTest(executor, WAIT)
        job_id, witness = bench.submit(Embed(["!first", "second"]))
        assert engine.stalled.wait(WAIT)
        executor.cancel(job_id)
        engine.go_on.set()
        ending = witness.wait(WAIT)
        assert isinstance(ending, Failed)
        assert ending.kind == "CallCancelled"
        assert engine.seen == ["!f"]


def test_close_ends_what_waits_behind_a_stalled_preparation():
    with stalling() as (engine, executor):
        bench = ExecutorUnderTest(executor, WAIT)
        _, first = bench.submit(Raw("!first", max_tokens=1))
        assert engine.stalled.wait(WAIT)
        waiting = [bench.submit(Raw("waits", max_tokens=1))[1] for _ in range(2)]
        closer = threading.Thread(target=executor.close, args=(0.0,))
        closer.start()
        for witness in waiting:
            assert isinstance(witness.wait(WAIT), Failed)
        assert not first.over.is_set()
        engine.go_on.set()
        closer.join(WAIT)
        assert isinstance(first.wait(WAIT), Failed)


def test_what_is_withdrawn_is_refused_once_and_what_is_taken_is_not():
    prepared: list[str] = []
    refused: list[str] = []
    taken, go_on = threading.Event(), threading.Event()

    def prepare(item: str) -> None:
        taken.set()
        go_on.wait(WAIT)
        prepared.append(item)

    preparers: Preparers[str] = Preparers()
    threads = preparers.threads(prepare, refused.append)
    for thread in threads:
        thread.start()
    preparers.put("a", large=False)
    assert taken.wait(WAIT)
    for item in "bcd":
        preparers.put(item, large=False)
    for item in "aacc":
        preparers.withdraw(item)
    wait_until(lambda: refused == ["c"])
    preparers.close()
    wait_until(lambda: refused == ["c", "b", "d"])
    go_on.set()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert (prepared, refused) == (["a"], ["c", "b", "d"])


@pytest.mark.parametrize(
    ("request_", "large"),
    [
        (Raw("a" * 10_000), False),
        (Raw("a" * 20_000), True),
        (Chat("a" * 10_000), False),
        (Chat([{"role": "system", "content": "a" * 9000}, {"role": "user", "content": "a" * 9000}]), True),
        (Chat([{"role": "user", "content": [{"type": "text", "text": "a" * 20_000}]}]), True),
        (Embed(["a" * 100] * 1000), True),
        (Embed("a"), False),
    ],
)
def test_what_is_large(request_, large):
    assert is_large(normalize(request_)) is large
