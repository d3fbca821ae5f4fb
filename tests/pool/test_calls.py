"""Calls in sync code: waiting, streaming, cancelling, mapping, deadlines."""

from __future__ import annotations

import gc
import inspect
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anyio
import pytest
from submitted import later, taken

from poolinfer import (
    CallCancelled,
    Chat,
    DeadlineExceeded,
    Embed,
    EngineError,
    InvalidRequest,
    Pool,
    PoolFull,
    PoolStats,
    Prompt,
    Raw,
    UnknownOption,
)
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool, wait_until


@pytest.fixture
def executor():
    return FakeExecutor(manual=True, slots=2)


def test_the_six_calls_in_sync_code():
    with Pool(executor=FakeExecutor()) as pool:
        assert pool.chat("Hello there").answer == "Hello there"
        assert pool.chat(Prompt.system("Be brief.").user("Hi")).text == "Hi"
        assert pool.chat([{"role": "user", "content": "Hi"}]).text == "Hi"
        assert pool.raw("Once upon").text == "Once upon"
        one = pool.embed("ab")
        assert list(one.vector) == [2, ord("a") + ord("b"), ord("a"), 1]
        assert [e.vector[0] for e in pool.embed(["a", "abc"])] == [1, 3]


def test_max_tokens_cut_the_fake_answer():
    with Pool(executor=FakeExecutor()) as pool:
        response = pool.raw("one two three", max_tokens=2)
    assert (response.text, response.finish_reason) == ("one two ", "length")


def test_result_with_a_timeout_leaves_the_call_running(pool, executor):
    call = pool.submit(Raw("a"))
    job = taken(executor, 1)
    for timeout in (0, -1, 0.01):
        with pytest.raises(TimeoutError, match="goes on") as caught:
            call.result(timeout)
        assert not isinstance(caught.value, DeadlineExceeded)
    assert not call.done()
    assert call._ticket._waiters == []
    executor.say(job, "done")
    executor.finish(job)
    assert call.result(timeout=30).text == "done"
    assert executor.cancelled == []


def test_result_again_and_from_many_threads(pool, executor):
    call = pool.submit(Raw("a"))
    job = taken(executor, 1)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(call.result) for _ in range(8)]
        wait_until(lambda: len(call._ticket._waiters) == 8)
        executor.finish(job)
        found = {id(one.result()) for one in waiting}
    assert found == {id(call.result())}


def test_stream_gives_chunks_as_they_come(pool, executor):
    call = pool.stream("Count")
    job = taken(executor, 1)
    chunks = iter(call)
    executor.say(job, "one ")
    assert next(chunks).text == "one "
    later(executor.say, job, "two")
    assert next(chunks).text == "two"
    later(executor.finish, job)
    assert list(chunks) == []
    assert list(chunks) == []
    assert call.result().text == call.partial == "one two"


def test_each_reader_starts_at_the_beginning(pool, executor):
    call = pool.stream("Count")
    job = taken(executor, 1)
    first = iter(call)
    executor.say(job, "one ")
    assert next(first).answer == "one "
    executor.say(job, "two")
    executor.finish(job)
    assert [chunk.text for chunk in call] == ["one two"]
    assert [chunk.text for chunk in first] == ["two"]


def test_chunks_come_before_the_error(pool, executor):
    call = pool.stream("Count")
    job = taken(executor, 1)
    executor.say(job, "one ")
    executor.fail(job, EngineError("it broke"))
    chunks = iter(call)
    assert next(chunks).text == "one "
    with pytest.raises(EngineError, match="it broke") as caught:
        next(chunks)
    assert caught.value.partial == "one "
    assert list(chunks) == []


@pytest.mark.parametrize("keep", [False, True])
def test_dropping_an_iterator_half_way_cancels(pool, executor, keep):
    kept = []

    def read():
        call = pool.stream("Count")
        kept.extend([call] if keep else [])
        for chunk in call:
            assert chunk.text == "one "
            break

    later(lambda: executor.say(taken(executor, 1), "one "))
    read()
    gc.collect()
    wait_until(lambda: executor.cancelled == executor.taken, "the cancel")
    wait_until(lambda: pool.stats().cancelled == 1)


def test_leaving_the_block_cancels(pool, executor):
    with pytest.raises(ZeroDivisionError), pool.submit(Raw("a")) as call:  # noqa: PT012
        job = taken(executor, 1)
        executor.say(job, "so far")
        _ = 1 / 0
    with pytest.raises(CallCancelled) as caught:
        call.result()
    assert caught.value.partial == call.partial == "so far"
    wait_until(lambda: executor.cancelled == [job], "the cancel")


def test_leaving_the_block_after_the_end_changes_nothing(pool, executor):
    with pool.submit(Raw("a")) as call:
        executor.finish(taken(executor, 1))
    assert call.result().text == ""
    assert executor.cancelled == []


def test_a_cancelled_call_frees_its_waiters_before_its_slot(pool, executor):
    calls = [pool.submit(Raw("a")) for _ in range(3)]
    taken(executor, 2)
    calls[0].cancel()
    with pytest.raises(CallCancelled):
        calls[0].result()
    wait_until(lambda: executor.cancelled, "the cancel")
    stats = pool.stats()
    assert (stats.busy, stats.stopping, stats.running, stats.waiting) == (2, 1, 1, 1)
    executor.step()
    assert taken(executor, 3)
    assert pool.stats().stopping == 0


def test_late_events_of_an_ended_call_are_ignored(pool, executor):
    call = pool.submit(Raw("a"))
    job = taken(executor, 1)
    call.cancel()
    wait_until(call.done)
    executor.say(job, "late")
    executor.finish(job)
    assert call.partial == ""
    with pytest.raises(CallCancelled):
        call.result()


def test_repr_shows_the_state_and_no_prompt(pool, executor):
    call = pool.submit(Chat("a secret"))
    assert repr(call) in ("<Call 1 chat waiting>", "<Call 1 chat running>")
    job = taken(executor, 1)
    executor.begin(job)
    assert repr(call) == "<Call 1 chat running>"
    assert repr(pool) == "<Pool FakeExecutor running, 1/2 slots busy, 0 waiting>"
    executor.finish(job)
    assert repr(call) == "<Call 1 chat done>"
    assert "secret" not in repr(call) + repr(pool) + pool._repr_html_() + str(pool.stats())


def test_deadline_in_the_queue(pool, executor):
    executor.refuse = True
    call = pool.submit(Raw("a", timeout=0.2))
    with pytest.raises(DeadlineExceeded, match=r"0\.2 s .*queue") as caught:
        call.result()
    assert (caught.value.timeout, caught.value.partial) == (0.2, "")
    assert executor.taken == []


def test_deadline_in_prefill():
    engine = FakeEngine(hang=threading.Event())
    with fake_pool(engine) as pool:
        with pytest.raises(DeadlineExceeded, match="while it ran") as caught:
            pool.raw("x" * 1000, timeout=0.3)
        assert caught.value.partial == ""
        wait_until(lambda: pool.stats().busy == 0, "the slot")
    assert engine.leaks() == []


def test_deadline_in_decode():
    engine = FakeEngine(tokens=100_000, step_delay=0.005)
    with fake_pool(engine) as pool:
        with pytest.raises(DeadlineExceeded, match=r"timeout of 1\.5 s") as caught:
            pool.raw("xyz", timeout=1.5)
        assert caught.value.partial.startswith("xyzxyz")
        assert pool.stats().expired == 1
        wait_until(lambda: pool.stats().busy == 0, "the slot")
    assert engine.leaks() == []


def test_options_beside_a_request_are_refused():
    with Pool(executor=FakeExecutor()) as pool:
        with pytest.raises(InvalidRequest, match="max_tokens"):
            pool.stream(Chat("a"), max_tokens=3)
        with pytest.raises(InvalidRequest, match="Embed"):
            pool.stream(Embed("a"))
        with pytest.raises(InvalidRequest, match="top_p"):
            list(pool.map([Raw("a")], top_p=0.5))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("chat", "messages", "Chat has no option 'messages': use prompt"),
        ("stream", "messages", "Chat has no option 'messages': use prompt"),
        ("raw", "text", "Raw has no option 'text': use prompt"),
        ("embed", "texts", "Embed has no option 'texts': use input"),
    ],
)
def test_the_first_argument_by_another_name_is_an_unknown_option(name, given, message):
    """Before, the message was "missing 1 required positional argument: 'prompt'"."""
    with Pool(executor=FakeExecutor()) as pool:
        for use in (getattr(pool, name), getattr(pool, f"a{name}", None)):
            if use is not None:
                with pytest.raises(UnknownOption, match=message):
                    run_to_end(use, **{given: "Hi"})
                with pytest.raises(TypeError, match="missing"):
                    run_to_end(use)


def run_to_end(use, **options):
    """Call a method, sync or async, and return what it returns."""
    return anyio.run(partial(use, **options)) if inspect.iscoroutinefunction(use) else use(**options)


def test_pool_full_names_the_bound():
    """Before, the message was "5 calls wait already (max_queue=4)"."""
    executor = FakeExecutor(manual=True, slots=1)
    with Pool(executor=executor, max_queue=1) as pool:
        calls = [pool.submit(Raw("a"))]
        wait_until(lambda: executor.taken)
        calls.append(pool.submit(Raw("b")))
        with pytest.raises(PoolFull, match=r"^the queue is full \(max_queue=1\); try again in"):
            pool.submit(Raw("c"))
        assert f"{pool.stats()}".startswith("running: 0/2 calls done, 1 refused, 1 running, 1 waiting")
        calls[1].cancel()
        wait_until(lambda: pool.stats().cancelled == 1)
        executor.fail(1, EngineError("no"))
        wait_until(lambda: pool.stats().failed == 1)
        assert "0/2 calls done, 1 failed, 1 cancelled, 1 refused, 0 running" in str(pool.stats())
    assert "0/0 calls done, 0 running" in str(PoolStats())


def test_priorities_go_first_and_equal_ones_in_order(pool, executor):
    executor.refuse = True
    calls = [pool.submit(Raw("a", priority=p)) for p in (0, -1, 5, 0, 5)]
    executor.slots, executor.refuse = 5, False
    executor.ready()
    assert [taken(executor, n) for n in range(1, 6)] == [3, 5, 1, 4, 2]
    del calls


def test_timings_say_where_the_time_went(pool, executor):
    executor.refuse = True
    call = pool.submit(Raw("a"))
    time.sleep(0.05)
    executor.refuse = False
    executor.ready()
    job = taken(executor, 1)
    executor.begin(job)
    executor.say(job, "x")
    executor.finish(job)
    timings = call.result().timings
    assert 0.05 <= timings.queue <= timings.ttft <= timings.total < 30


def test_neighbours_never_cross():
    """F-74 on a small scale: each of many concurrent calls gets its own text back."""
    engine = FakeEngine()
    with fake_pool(engine, workers=2, slots=6) as pool:
        prompts = [f"secret {n} " * (1 + n % 7) for n in range(60)]
        calls = [pool.submit(Raw(p) if n % 2 else Chat(p)) for n, p in enumerate(prompts)]
        for call in calls[::5]:
            call.cancel()
        for n, (prompt, call) in enumerate(zip(prompts, calls, strict=True)):
            if n % 5:
                assert call.result().text.strip() == prompt.strip()
    assert engine.leaks() == []
    assert engine.max_rows > 6
