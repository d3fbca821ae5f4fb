"""The process executor's side of the talk, with workers that a test plays itself."""

from __future__ import annotations

import pytest
from fake_worker import QUICK, FakeWorker

from poolinfer import Chunk, Embed, Raw, Response, WorkerLost
from poolinfer._checks.normalize import normalize
from poolinfer._data.events import Done, Failed, Job, Started
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._data.stats import ExecutorStats
from poolinfer._executors import seats
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.workers.death import Exit
from poolinfer._wire.frames import Boot, Burst, Cancel, Ping, Pong, Submit, Up
from poolinfer.testing import wait_until
from poolinfer.testing._executor_under_test import ExecutorUnderTest, check_order

DONE = Done(Response("text"))


class _Stage:
    """A started executor of one worker with two slots, and the workers that were spawned."""

    def __init__(self, **options) -> None:
        self.workers: list[FakeWorker] = []
        self.executor = ProcessExecutor(
            ModelSpec("", (0, 0, 0, 0)), LaneSpec(slots=2), patience=QUICK, spawner=self, **options
        )
        self.bench = ExecutorUnderTest(self.executor, 20)

    def spawn(self, loop):
        worker = FakeWorker(10_000_000 + len(self.workers))
        self.workers.append(worker)
        worker.say(Up())
        return worker.child

    def close(self):
        pass

    @property
    def worker(self) -> FakeWorker:
        return self.workers[-1]

    def hear(self) -> object:
        """The next message to the newest worker that is not about its health."""
        while isinstance(message := self.worker.hear(), Ping | Boot):
            pass
        return message


@pytest.fixture
def stage():
    stage = _Stage()
    yield stage
    stage.executor.close(0)
    for worker in stage.workers:
        worker.close()


@pytest.mark.parametrize(
    "events",
    [
        ((99, Started()),),
        ((99, DONE),),
        ((1, DONE), (1, DONE)),
        ((1, DONE), (1, Chunk("more"))),
        ((1, Failed("EngineError", "no")), (1, DONE)),
    ],
    ids=["unknown job", "ending of an unknown job", "second ending", "text after the ending", "two minds"],
)
def test_F63_events_that_cannot_be_cost_the_worker(stage, events):
    _, first = stage.bench.submit(Raw("one"))
    _, second = stage.bench.submit(Raw("two"))
    stage.worker.say(Burst(((2, Chunk("partial")),)))
    wait_until(lambda: second.events)
    stage.worker.say(Burst(events))
    lost = second.wait(20)
    assert isinstance(lost, Failed)
    assert isinstance(lost.error(), WorkerLost)
    assert "protocol" in lost.message
    wait_until(lambda: len(stage.workers) == 2)
    if events[0][0] == 1:
        check_order(first.events)


def test_a_call_that_runs_again_starts_once(stage):
    _, witness = stage.bench.submit(Raw("one"))
    stage.worker.say(Burst(((1, Started(3)),)))
    wait_until(lambda: witness.events)
    stage.worker.die(Exit(1))
    wait_until(lambda: len(stage.workers) == 2)
    assert stage.hear() == Submit(Job(1, normalize(Raw("one"))))
    stage.worker.say(Burst(((1, Started(3)), (1, Chunk("text")), (1, DONE))))
    witness.wait(20)
    assert witness.events == [Started(3), Chunk("text"), DONE]


def test_a_call_that_was_seen_does_not_run_again(stage):
    _, witness = stage.bench.submit(Raw("one"))
    stage.worker.say(Burst(((1, Started(3)), (1, Chunk("text")))))
    wait_until(lambda: len(witness.events) == 2)
    stage.worker.die(Exit(1))
    assert witness.wait(20).kind == "WorkerLost"
    assert not witness.wait(20).detail["suspect"]


def test_calls_that_run_again_do_so_one_by_one(stage):
    witnesses = [stage.bench.submit(Raw(text))[1] for text in ("one", "two")]
    stage.worker.die(Exit(1))
    wait_until(lambda: len(stage.workers) == 2)
    assert stage.hear().job.id == 1
    assert stage.bench.try_submit(Raw("three")) is None
    stage.worker.say(Burst(((1, DONE),)))
    assert witnesses[0].wait(20) == DONE
    assert stage.hear().job.id == 2
    stage.worker.die(Exit(1))
    # Now it is known whose fault it was.
    assert witnesses[1].wait(20).detail["suspect"]


def _suspect(stage: _Stage) -> None:
    """Job 1 is lost after its text was seen; then job 2 has the next worker."""
    _, lost = stage.bench.submit(Raw("bad"))
    stage.worker.say(Burst(((1, Started(3)), (1, Chunk("text")))))
    wait_until(lambda: len(lost.events) == 2)
    stage.worker.die(Exit(signal=11))
    assert lost.wait(20).kind == "WorkerLost"
    wait_until(lambda: len(stage.workers) == 2)
    wait_until(lambda: stage.executor.stats().workers == 1)
    stage.bench.submit(Raw("long"))
    assert stage.hear().job.id == 2


def test_F11_a_call_that_needs_a_worker_of_its_own_holds_up_no_other(stage):
    _suspect(stage)
    _, again = stage.bench.submit(Raw("bad"))
    _, other = stage.bench.submit(Raw("other"))
    assert stage.hear().job.id == 4
    stage.worker.say(Burst(((4, DONE),)))
    assert other.wait(20) == DONE
    stage.worker.say(Burst(((2, DONE),)))
    assert stage.hear().job.id == 3
    assert stage.bench.try_submit(Raw("beside it")) is None
    stage.worker.say(Burst(((3, DONE),)))
    assert again.wait(20) == DONE


def test_F11_only_a_few_such_calls_are_accepted(stage):
    _suspect(stage)
    assert [stage.bench.try_submit(Raw("bad")) is not None for _ in range(3)] == [True, True, False]
    for job_id in (2, 3):
        stage.worker.say(Burst(((job_id, DONE),)))
        assert stage.hear().job.id == job_id + 1
    stage.worker.say(Burst(((4, DONE),)))
    wait_until(lambda: stage.executor.stats().busy == 0)


def test_F11_a_worker_becomes_empty_for_a_call_that_has_waited_for_long(stage, monkeypatch):
    monkeypatch.setattr(seats, "_DRAIN_SECONDS", 0.0)
    _suspect(stage)
    _, again = stage.bench.submit(Raw("bad"))
    assert stage.bench.try_submit(Raw("other")) is None
    stage.worker.say(Burst(((2, DONE),)))
    assert stage.hear().job.id == 3
    stage.worker.say(Burst(((3, DONE),)))
    assert again.wait(20) == DONE


def test_a_cancel_of_a_call_that_waits_to_run_again(stage):
    witnesses = [stage.bench.submit(Raw(text))[1] for text in ("one", "two")]
    stage.worker.die(Exit(1))
    wait_until(lambda: len(stage.workers) == 2)
    assert stage.hear().job.id == 1
    stage.executor.cancel(2)
    assert witnesses[1].wait(20).kind == "CallCancelled"
    stage.executor.cancel(1)
    assert stage.hear() == Cancel(1)
    stage.worker.say(Burst(((1, DONE),)))
    witnesses[0].wait(20)


def test_embeddings_run_again_too(stage):
    _, witness = stage.bench.submit(Embed(("a", "b")))
    stage.worker.say(Burst(((1, Started(3)),)))
    stage.worker.die(Exit(1))
    wait_until(lambda: len(stage.workers) == 2)
    assert stage.hear().job.id == 1
    stage.worker.say(Burst(((1, Done(())),)))
    assert witness.wait(20) == Done(())


def test_counters_of_dead_workers_are_kept(stage):
    stage.worker.say(Pong(ExecutorStats(steps=5, completion_tokens=7)))
    wait_until(lambda: stage.executor.stats().steps == 5)
    stage.worker.die(Exit(1))
    wait_until(lambda: len(stage.workers) == 2)
    stage.worker.say(Pong(ExecutorStats(steps=2, completion_tokens=1)))
    wait_until(lambda: stage.executor.stats().steps == 7)
    assert stage.executor.stats().completion_tokens == 8


def test_a_listener_that_raises_costs_nobody_else(stage):
    def broken(_):
        raise RuntimeError("a bug of the host")

    assert stage.executor.submit(stage.bench.job(Raw("one")), broken)
    _, witness = stage.bench.submit(Raw("two"))
    stage.worker.say(Burst(((1, Chunk("a")), (1, DONE), (2, DONE))))
    assert witness.wait(20) == DONE
    assert stage.executor.stats().busy == 0
