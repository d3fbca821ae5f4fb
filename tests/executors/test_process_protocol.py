"""What a seating and a supervisor do together, with workers that a test plays (for the seating: test_seating)."""

from __future__ import annotations

import pytest
from fake_worker import QUICK, FakeWorker

from poolinfer import Chunk, Raw, Response, WorkerLost
from poolinfer._checks.normalize import normalize
from poolinfer._data.events import Done, Failed, Job, Started
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.workers.death import ExitStatus
from poolinfer._wire.frames import Boot, Burst, Ping, Submit, Up
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
        self.tested = ExecutorUnderTest(self.executor, 20)

    def spawn(self, poller):
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
    _, first = stage.tested.submit(Raw("one"))
    _, second = stage.tested.submit(Raw("two"))
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
    _, witness = stage.tested.submit(Raw("one"))
    stage.worker.say(Burst(((1, Started(3)),)))
    wait_until(lambda: witness.events)
    stage.worker.die(ExitStatus(1))
    wait_until(lambda: len(stage.workers) == 2)
    assert stage.hear() == Submit(Job(1, normalize(Raw("one"))))
    stage.worker.say(Burst(((1, Started(3)), (1, Chunk("text")), (1, DONE))))
    witness.wait(20)
    assert witness.events == [Started(3), Chunk("text"), DONE]
