"""A supervisor whose workers are played by the test."""

from __future__ import annotations

from collections.abc import Callable

from fake_worker import QUICK, FakeWorker

from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._executors.workers.child_process import Child
from poolinfer._executors.workers.death import Death, ExitStatus
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.supervisor import Supervisor
from poolinfer._wire.frames import Boot, Up

NO_MODEL = ModelSpec("", (0, 0, 0, 0))


class Stage:
    """An owner that notes everything, and the workers that were spawned."""

    def __init__(self, size: int = 1, patience: Patience = QUICK) -> None:
        self.workers: list[FakeWorker] = []
        self.up: list[int] = []
        self.said: list[object] = []
        self.deaths: list[Death] = []
        self.broken: list[str] = []
        self.refuse: Callable[[], None] = lambda: None
        self.greet = lambda worker: worker.say(Up())
        self.supervisor = Supervisor(self, lambda: Boot("", NO_MODEL, LaneSpec()), patience)
        self._size = size

    def start(self) -> None:
        self.supervisor.start(self, self._size)

    def close_all(self) -> None:
        """Close the supervisor. The workers end when they are asked to, as real ones do."""
        self.supervisor.run_soon(self.supervisor._stop_all)
        self.supervisor.run_soon(self._obey)
        self.supervisor.close()
        for worker in self.workers:
            worker.close()

    def _obey(self) -> None:
        for worker in self.workers:
            worker.die(ExitStatus(0))

    def spawn(self, poller) -> Child:
        self.refuse()
        worker = FakeWorker(1000 + len(self.workers))
        self.workers.append(worker)
        self.greet(worker)
        return worker.child

    def close(self):
        pass

    def on_up(self, number):
        self.up.append(self.supervisor._workers[number].pid)

    def on_message(self, number, message):
        self.said.append(message)
        return True

    def on_down(self, number, death):
        self.deaths.append(death)
        return False

    def on_broken(self, reason):
        self.broken.append(reason)

    def on_tick(self):
        pass
