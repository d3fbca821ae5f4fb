"""What calls share with `concurrent.futures`: `exception`, `as_completed`, `wait`; and how asyncio takes calls."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import anyio
import numpy
import pytest
from submitted import later, submitted

from poolinfer import CallCancelled, EngineError, InvalidRequest, Pool, Raw, as_completed, wait
from poolinfer.testing import FakeExecutor, wait_until


def test_exception_is_what_result_raises(pool, executor):
    good, bad, gone = submitted(pool, executor, 3)
    with pytest.raises(TimeoutError, match="goes on"):
        good.exception(0.01)
    executor.finish(1)
    executor.fail(2, EngineError("it broke"))
    gone.cancel()
    wait_until(gone.done)
    assert good.exception() is None
    assert isinstance(bad.exception(), EngineError)
    assert bad.exception() is not bad.exception()
    assert isinstance(gone.exception(), CallCancelled)
    assert [call.cancelled() for call in (good, bad, gone)] == [False, False, True]


def test_a_running_call_is_not_cancelled(pool, executor):
    (call,) = submitted(pool, executor, 1)
    assert not call.cancelled()


def test_a_timeout_that_is_no_number_is_refused(pool, executor):
    (call,) = submitted(pool, executor, 1)
    uses = (call.result, call.exception, partial(wait, [call]), partial(as_completed, [call]))
    for use in uses:
        for timeout in ("5", True, float("nan"), [1]):
            with pytest.raises(InvalidRequest, match=r"^timeout is .*: use None or a number of seconds"):
                use(timeout=timeout)
    for timeout in (-1, 0, numpy.int64(0), numpy.float32(0.01)):
        with pytest.raises(TimeoutError):
            call.result(timeout)


def test_what_are_no_calls_is_refused_by_wait_and_as_completed(pool, executor):
    """Before, a single call was iterated over, and its chunks were taken for calls."""
    (call,) = submitted(pool, executor, 1)
    for use in (wait, as_completed):
        for calls, message in (
            (call, "calls is a Call: give a list .*; for a single one use its result"),
            (5, "calls is 5"),
            ([call, "a"], r"calls\[1\] is 'a': use calls"),
            ([[call]], r"calls\[0\] is "),
        ):
            with pytest.raises(InvalidRequest, match=message):
                use(calls)


def test_as_completed_gives_calls_as_they_end(pool, executor):
    calls = submitted(pool, executor, 4)
    executor.finish(3)
    found = as_completed([*calls, calls[0]])
    assert next(found) is calls[2]
    later(executor.finish, 2)
    assert next(found) is calls[1]
    calls[3].cancel()
    assert next(found) is calls[3]
    executor.finish(1)
    assert list(found) == [calls[0]]
    assert list(as_completed([])) == []


def test_as_completed_has_a_deadline_and_the_calls_go_on(pool, executor):
    calls = submitted(pool, executor, 2)
    executor.finish(1)
    found = as_completed(calls, timeout=0.05)
    assert next(found) is calls[0]
    with pytest.raises(TimeoutError, match=r"1 calls did not end within 0\.05 s"):
        next(found)
    assert not calls[1].done()


def test_dropping_as_completed_drops_the_calls(pool, executor):
    found = as_completed(submitted(pool, executor, 2))
    executor.finish(1)
    next(found)
    del found
    gc.collect()
    wait_until(lambda: executor.cancelled == [2])


def test_as_completed_in_async_code(run_async):
    async def main():
        executor = FakeExecutor(manual=True, slots=3)
        async with Pool(executor=executor) as pool:
            calls = [pool.submit(Raw("a")) for _ in range(3)]
            while len(executor.taken) < 3:
                await anyio.sleep(0.002)
            executor.finish(2)
            seen = []
            async for call in as_completed(calls):
                seen.append(calls.index(call) + 1)
                if len(seen) < 3:
                    later(executor.finish, {1: 3, 2: 1}[len(seen)])
            assert seen == [2, 3, 1]
            stuck = as_completed([pool.submit(Raw("a"))], timeout=0.05)
            with pytest.raises(TimeoutError):
                await stuck.__anext__()
            del stuck
            await pool.aclose(0)

    run_async(main)


def test_wait_says_what_is_done(pool, executor):
    calls = submitted(pool, executor, 3)
    for _ in range(3):
        assert wait(calls, 0) == (set(), set(calls))
    assert all(call._ticket._waiters == [] for call in calls)
    executor.finish(1)
    assert wait(calls, return_when="FIRST_COMPLETED") == ({calls[0]}, {calls[1], calls[2]})
    later(executor.fail, 2, EngineError("no"))
    found = wait(calls, return_when="FIRST_EXCEPTION")
    assert (found.done, found.not_done) == ({calls[0], calls[1]}, {calls[2]})
    later(executor.finish, 3)
    assert wait(calls).done == set(calls)
    with pytest.raises(InvalidRequest, match="return_when"):
        wait(calls, return_when="ALL")


def test_calls_are_awaitables_of_asyncio():
    async def main():
        async with Pool(executor=FakeExecutor()) as pool:
            calls = [pool.submit(Raw(text)) for text in "abc"]
            assert [response.text for response in await asyncio.gather(*calls)] == ["a", "b", "c"]
            assert (await asyncio.wait_for(pool.submit(Raw("d")), 30)).text == "d"
            assert (await asyncio.ensure_future(pool.submit(Raw("e")))).text == "e"

    asyncio.run(main())


def test_the_future_s_methods_refuse_in_a_forked_child(run_script):
    done = run_script(
        """
        import os, warnings
        import poolinfer
        from poolinfer import ForkedPool, Pool, Raw
        from poolinfer.testing import FakeExecutor

        warnings.simplefilter("ignore", DeprecationWarning)
        executor = FakeExecutor(manual=True)
        pool = Pool(executor=executor)
        call = pool.submit(Raw("a"))
        pid = os.fork()
        if pid == 0:
            for use in (call.exception, lambda: call.add_done_callback(print),
                        lambda: next(poolinfer.as_completed([call])), lambda: poolinfer.wait([call])):
                try:
                    use()
                except ForkedPool:
                    continue
                os._exit(1)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        pool.close(0)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
