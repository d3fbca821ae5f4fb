"""`n`: several answers of one call, each a job of its own."""

from __future__ import annotations

import itertools
import random
import threading

import pytest
from submitted import later, taken

from poolinfer import CallCancelled, Chat, DeadlineExceeded, EngineError, InvalidRequest, Pool, PoolFull, Raw
from poolinfer._data.results import Response, Timings, Usage
from poolinfer._pool.choices import joined
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool, wait_until


def ended(call):
    wait_until(call.done)
    return call


def test_each_answer_is_a_job_of_its_own(pool, executor):
    call = pool.submit(Raw("a", n=3, seed=7, temperature=0))
    taken(executor, 3)
    jobs = list(executor.jobs.values())
    assert [job.request.n for job in jobs] == [1, 1, 1]
    assert [job.request.seed for job in jobs] == [7, 8, 9]
    assert len({job.id for job in jobs}) == 3
    assert {job.group for job in jobs} == {jobs[0].id}
    call.cancel()


def test_a_call_with_one_answer_is_a_job_without_a_group(pool, executor):
    pool.submit(Raw("a")).cancel()
    pool.submit(Chat("a", n=1)).cancel()
    call = pool.submit(Raw("b"))
    number = taken(executor, 1)
    assert executor.jobs[number].group == 0
    call.cancel()


def test_without_a_seed_no_answer_has_one(pool, executor):
    call = pool.submit(Raw("a", n=2))
    taken(executor, 2)
    assert [job.request.seed for job in executor.jobs.values()] == [None, None]
    call.cancel()


def test_the_last_seed_is_followed_by_the_first(pool, executor):
    call = pool.submit(Raw("a", n=3, seed=2**32 - 3))
    taken(executor, 3)
    assert [job.request.seed for job in executor.jobs.values()] == [2**32 - 3, 2**32 - 2, 0]
    call.cancel()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_answers_have_the_order_of_their_jobs_whichever_ends_first(pool, executor, order):
    call = pool.submit(Raw("a", n=3))
    taken(executor, 3)
    jobs = list(executor.jobs)
    for i in order:
        executor.begin(jobs[i])
        executor.say(jobs[i], f"answer {i}")
        assert not call.done()
        executor.finish(jobs[i])
    response = call.result(5)
    assert [choice.text for choice in response.choices] == ["answer 0", "answer 1", "answer 2"]
    assert response.text == "answer 0"
    assert [choice["index"] for choice in response.to_openai()["choices"]] == [0, 1, 2]
    assert pool.stats().succeeded == pool.stats().accepted == 1


def test_usage_counts_the_prompt_once_and_all_answers():
    def answer(cached, more, decode):
        return Response("x", usage=Usage(10, cached, more, 1), timings=Timings(decode=decode))

    whole = joined([answer(4, 3, 0.5), answer(9, 5, 2.0)])
    assert whole.usage == Usage(10, 4, 8, 2)
    assert whole.timings.decode == 2.0
    assert whole.others[0].usage.completion_tokens == 5
    assert whole.to_openai()["usage"]["completion_tokens"] == 8


def test_more_answers_than_slots_come_one_after_the_other():
    with Pool(executor=FakeExecutor(slots=2)) as pool:
        response = pool.raw("one two three", n=7)
        stats = pool.stats()
    assert [choice.text for choice in response.choices] == ["one two three"] * 7
    assert (stats.accepted, stats.succeeded, stats.completion_tokens) == (1, 1, 21)


def test_chunks_say_which_answer_they_are_of(pool, executor):
    call = pool.submit(Chat("a", n=3))
    taken(executor, 3)
    jobs, rng, said = list(executor.jobs), random.Random(1), ["", "", ""]
    chunks = []
    reader = threading.Thread(target=lambda: chunks.extend(call))
    reader.start()
    for number in range(60):
        i = rng.randrange(3)
        executor.say(jobs[i], f"{number} ")
        said[i] += f"{number} "
    for job in jobs:
        executor.finish(job)
    reader.join(10)
    assert ["".join(chunk.text for chunk in chunks if chunk.index == i) for i in range(3)] == said
    # A second reader reads all of it again.
    again = list(call)
    assert ["".join(chunk.text for chunk in again if chunk.index == i) for i in range(3)] == said


def test_one_answer_that_fails_ends_the_call_and_cancels_the_others(pool, executor):
    call = pool.submit(Raw("a", n=4))
    taken(executor, 4)
    jobs = list(executor.jobs)
    executor.say(jobs[0], "so far")
    executor.finish(jobs[1])
    executor.fail(jobs[2], EngineError("broken"))
    error = ended(call).exception()
    assert isinstance(error, EngineError)
    assert error.partial == "so far"
    assert sorted(executor.cancelled) == [jobs[0], jobs[3]]
    executor.step()
    stats = pool.stats()
    assert (stats.failed, stats.accepted, stats.running, stats.busy) == (1, 1, 0, 0)


def test_cancel_ends_every_job(pool, executor):
    call = pool.submit(Raw("a", n=6))
    taken(executor, 4)
    call.cancel()
    assert isinstance(ended(call).exception(), CallCancelled)
    wait_until(lambda: len(executor.cancelled) == 4)
    executor.step()
    # The jobs that were still to come never come.
    other = pool.submit(Raw("b"))
    wait_until(lambda: len(executor.taken) == 5)
    assert executor.jobs[executor.taken[-1]].request.prompt == "b"
    other.cancel()


def test_the_deadline_is_that_of_the_call(pool, executor):
    call = pool.submit(Raw("a", n=6, timeout=0.05))
    taken(executor, 4)
    assert isinstance(ended(call).exception(), DeadlineExceeded)
    wait_until(lambda: len(executor.cancelled) == 4)
    executor.step()
    assert pool.stats().expired == 1


def test_a_call_that_waits_counts_once(executor):
    with Pool(executor=executor, max_queue=2) as pool:
        running = pool.submit(Raw("a", n=4))
        taken(executor, 4)
        waiting = [pool.submit(Raw("b", n=100)), pool.submit(Raw("c", n=100))]
        wait_until(lambda: pool.stats().waiting == 2)
        with pytest.raises(PoolFull):
            pool.submit(Raw("d"))
        assert (pool.stats().running, pool.stats().busy) == (1, 4)
        for call in (running, *waiting):
            call.cancel()
        wait_until(lambda: len(executor.cancelled) == 4)
        executor.step()


def test_a_call_of_which_some_jobs_run_is_not_said_to_wait(executor):
    executor.slots = 2
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a", n=5))
        taken(executor, 2)
        stats = pool.stats()
        assert (stats.running, stats.waiting, stats.busy) == (1, 0, 2)
        call.cancel()
        wait_until(lambda: len(executor.cancelled) == 2)
        executor.step()


def test_a_call_of_higher_priority_comes_between_two_answers(executor):
    executor.slots = 1
    with Pool(executor=executor) as pool:
        several = pool.submit(Raw("several", n=2))
        first = taken(executor, 1)
        urgent = pool.submit(Raw("urgent", priority=1))
        wait_until(lambda: pool.stats().waiting == 1)
        executor.finish(first)
        number = taken(executor, 2)
        assert executor.jobs[number].request.prompt == "urgent"
        executor.finish(number)
        executor.finish(taken(executor, 3))
        assert len(several.result(5).choices) == 2
        assert urgent.done()


def test_the_pool_closes_while_answers_are_to_come(executor):
    pool = Pool(executor=executor)
    call = pool.submit(Raw("a", n=9))
    taken(executor, 4)
    later(pool.close, 0)
    assert isinstance(call.exception(10), CallCancelled)
    wait_until(lambda: pool.stats().state == "closed")


def test_n_and_no_tokens_is_refused():
    with pytest.raises(InvalidRequest, match="n is 2: use 1 with max_tokens=0"):
        Pool(executor=FakeExecutor()).submit(Raw("a", n=2, max_tokens=0, echo=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_eight_answers_compute_their_prompt_once(workers):
    engine, prompt = FakeEngine(tokens=6), "a prompt of some length, " * 8
    with fake_pool(engine, workers=workers, slots=8) as pool:
        response = pool.raw(prompt, n=8)
        stats = pool._lifecycle._executor.stats()
    assert [choice.text for choice in response.choices] == [prompt[:6]] * 8
    # The last token of a prompt is computed by each of them: what follows it is another one for each.
    assert stats.prompt_tokens == len(prompt) + 7
    assert stats.cached_tokens == 7 * (len(prompt) - 1)
    assert response.usage.prompt_tokens == len(prompt)
    assert response.usage.completion_tokens == 8 * 7


def test_answers_go_to_other_lanes_where_theirs_is_full():
    with fake_pool(FakeEngine(tokens=6), workers=2, slots=3) as pool:
        response = pool.raw("a prompt", n=9)
    assert [choice.text for choice in response.choices] == ["a prom"] * 9
