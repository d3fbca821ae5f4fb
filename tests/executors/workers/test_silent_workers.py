"""Workers that answer nothing, or make no progress (F-02, F-52)."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress

from fake_worker import FakeWorker

from poolinfer._data.stats import ExecutorStats
from poolinfer._executors.workers import patience as patience_module
from poolinfer._executors.workers.death import ExitStatus
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.restarts import RestartLimit
from poolinfer._wire.frames import Boot, Ping, Pong, Up
from poolinfer._worker import worker_main
from poolinfer.testing import wait_until


def test_F02_a_worker_without_progress_is_killed(stages):
    stage = stages(patience=Patience(stuck=0.3, stop=0.2, term=0.1, tick=0.05, restarts=RestartLimit(0)))
    stage.start()
    stuck = stage.workers[0]
    stuck.mortal = False
    assert isinstance(stuck.hear(), Boot)
    assert stuck.hear() == Ping()
    wait_until(lambda: len(stage.up) == 2)
    assert stuck.signals[:2] == [signal.SIGTERM, signal.SIGKILL]
    assert "progress" in stage.deaths[0].why
    # Our own kills are no crash loop.
    assert not stage.broken


@contextmanager
def answering(*workers: FakeWorker):
    """Workers that answer pings for a while."""

    def answer(worker):
        with suppress(EOFError, OSError):
            while True:
                if isinstance(worker.hear(), Ping):
                    worker.say(Pong(ExecutorStats()))

    threads = [threading.Thread(target=answer, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    yield
    for worker in workers:
        worker.socket.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(20)


def test_F02_a_worker_that_answers_nothing_is_killed_long_before_one_without_progress(stages):
    stage = stages(2, Patience(stuck=40, silent=0.5, stop=0.2, term=0.1, tick=0.05))
    stage.start()
    stopped, well = stage.workers
    with answering(well):
        wait_until(lambda: stage.deaths)
        assert "not answered" in stage.deaths[0].why
        assert stopped.signals[0] == signal.SIGTERM
        assert not well.signals


def test_F02_a_worker_that_is_stopped_while_it_boots_is_replaced(stages):
    stage = stages(2, Patience(silent_boot=0.5, term=0.1, tick=0.05))
    stage.start()
    stage.greet = lambda worker: None
    stage.workers[0].die(ExitStatus(1))
    wait_until(lambda: len(stage.workers) == 3)
    stopped = stage.workers[2]
    stage.greet = lambda worker: worker.say(Up())
    wait_until(lambda: len(stage.workers) == 4)
    assert signal.SIGTERM in stopped.signals


def test_a_worker_that_boots_for_long_and_answers_is_left_alone(stages):
    stage = stages(1, Patience(silent_boot=0.6, tick=0.05))
    stage.greet = lambda worker: None
    starter = threading.Thread(target=stage.start)
    starter.start()
    wait_until(lambda: stage.workers)
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        while not isinstance(stage.workers[0].hear(), Ping):
            pass
        stage.workers[0].say(Pong(ExecutorStats()))
    stage.workers[0].say(Up())
    starter.join(20)
    assert len(stage.up) == 1
    assert not stage.workers[0].signals


def test_a_worker_answers_before_its_engine_is_loaded():
    said = []

    class Socket:
        queue = said.append

        def flush(self):
            said.append("sent")

    worker_main.WorkerMain(Socket(), None).take(Ping())
    assert said == [Pong(ExecutorStats()), "sent"]


def test_F52_workers_outlive_a_pause_of_the_whole_host(stages, monkeypatch):
    monkeypatch.setattr(patience_module, "_LONGEST_STEP", 0.1)
    stage = stages(2, Patience(silent=0.8, tick=0.05))
    stage.start()
    with answering(*stage.workers):
        # What a pause looks like: nothing happens here, and the clock has gone on.
        stage.supervisor.run_soon(lambda: time.sleep(1.2))
        said = len(stage.said)
        wait_until(lambda: len(stage.said) > said + 10)
        assert not stage.deaths
