"""A supervisor whose workers are played by the test."""

from __future__ import annotations

from collections.abc import Callable

from fake_worker import QUICK, FakeWorker

from poolinfer._executors.workers.child_process import Child
from poolinfer._executors.workers.death import Death
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.supervisor import Supervisor
from poolinfer._wire.frames import Stop, Up


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
        self.supervisor = Supervisor(self, self, size, patience)

    def spawn(self, loop) -> Child:
        self.refuse()
        worker = FakeWorker(1000 + len(self.workers))
        self.workers.append(worker)
        self.greet(worker)
        return worker.child

    def close(self):
        pass

    def boot_message(self):
        return Stop()

    def on_up(self, worker):
        self.up.append(worker.pid)

    def on_message(self, worker, message):
        worker.heard = self.supervisor.now
        self.said.append(message)

    def on_down(self, worker, death):
        self.deaths.append(death)
        return False

    def on_broken(self, reason):
        self.broken.append(reason)

    def on_tick(self):
        pass
