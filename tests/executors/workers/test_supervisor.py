"""The supervisor, with workers that a test plays itself."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress

import pytest
from corrupt_frames import CORRUPT
from fake_worker import QUICK, FakeWorker

from poolinfer import ModelError, PoolClosed
from poolinfer._data.events import Failed, Started
from poolinfer._data.requests import Chat
from poolinfer._executors.executor_protocol import ExecutorStats
from poolinfer._executors.quarantine import Quarantine
from poolinfer._executors.workers import patience as patience_module
from poolinfer._executors.workers.child_process import Child
from poolinfer._executors.workers.death import Death, Exit
from poolinfer._executors.workers.patience import Patience, PatientClock
from poolinfer._executors.workers.restarts import RestartLimit, Restarts
from poolinfer._executors.workers.supervisor import Supervisor
from poolinfer._system.environment import scrub
from poolinfer._wire.frames import BootFailed, Burst, Ping, Pong, Stop, Up
from poolinfer._worker import worker_main
from poolinfer.testing import wait_until


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


@pytest.fixture
def stages():
    made: list[Stage] = []

    def make(*args, **options) -> Stage:
        made.append(Stage(*args, **options))
        return made[-1]

    yield make
    for stage in made:
        stage.supervisor.close()
        for worker in stage.workers:
            worker.close()


@pytest.fixture
def stage(stages) -> Stage:
    return stages()


def test_it_boots_hears_and_stops(stages):
    stage = stages(2)
    stage.supervisor.start()
    assert sorted(stage.up) == [1000, 1001] == sorted(stage.supervisor.pids)
    stage.workers[1].say(Pong(ExecutorStats()), Burst(((1, Started()),)))
    wait_until(lambda: len(stage.said) == 2)
    for worker in stage.workers:
        assert worker.hear() == Stop()
    stage.supervisor.close()
    assert all(death.expected for death in stage.deaths)
    assert stage.supervisor.pids == ()


def test_F07_a_death_is_noticed_by_the_end_of_the_stream_and_made_good(stage):
    stage.supervisor.start()
    stage.workers[0].print("last words")
    stage.workers[0].die(Exit(7))
    wait_until(lambda: len(stage.up) == 2)
    assert stage.deaths == [Death(Exit(7), "last words")]


def test_F18_a_death_without_an_end_of_the_stream_is_noticed(stage):
    stage.supervisor.start()
    stage.workers[0].die(Exit(), silently=True)
    wait_until(lambda: len(stage.up) == 2)
    assert "unknown" in str(stage.deaths[0])


def test_a_stream_that_ends_without_a_death_becomes_one(stage):
    stage.supervisor.start()
    stage.workers[0].socket.close()
    wait_until(lambda: len(stage.up) == 2)
    assert stage.workers[0].signals == [signal.SIGKILL]


@pytest.mark.parametrize("data", [*CORRUPT.values(), None], ids=[*CORRUPT.keys(), "length 2^31"])
def test_F63_a_corrupt_frame_costs_the_worker(stage, data):
    stage.supervisor.start()
    head = (2**31 if data is None else len(data)).to_bytes(4, "big")
    stage.workers[0].socket.sendall(head + (data or b""))
    wait_until(lambda: len(stage.up) == 2)
    assert stage.deaths[0].why.startswith("protocol: ")
    assert stage.workers[0].signals[0] == signal.SIGKILL


def test_F63_a_worker_that_is_not_up_has_nothing_to_say(stage):
    stage.greet = lambda worker: worker.say(Burst(()), Up())
    with pytest.raises(ModelError, match="protocol"):
        stage.supervisor.start()


def test_F63_a_worker_boots_only_once(stage):
    stage.supervisor.start()
    stage.workers[0].say(Up())
    wait_until(lambda: stage.deaths)
    assert stage.deaths[0].why.startswith("protocol: ")


def test_F08_the_first_failure_to_boot_ends_the_start(stages):
    stage = stages(3)
    stage.greet = lambda worker: worker.print("no libgomp.so.1") or worker.die(Exit(127))
    with pytest.raises(ModelError, match=r"(?s)exit status 127.*no libgomp"):
        stage.supervisor.start()
    assert len(stage.workers) == 3
    assert stage.supervisor.pids == ()
    with pytest.raises(PoolClosed):
        stage.supervisor.start()


def test_F08_a_worker_says_why_it_does_not_boot(stage):
    def fail(worker):
        worker.say(BootFailed(Failed("ModelError", "the file changed")))
        worker.die(Exit(3))

    stage.greet = fail
    with pytest.raises(ModelError, match="the file changed"):
        stage.supervisor.start()


def test_F08_a_worker_that_never_boots_is_killed(stages):
    stage = stages(patience=Patience(boot=0.2, term=0.1, tick=0.05))
    stage.greet = lambda worker: setattr(worker, "mortal", False)
    with pytest.raises(ModelError, match="not up within"):
        stage.supervisor.start()
    assert stage.workers[0].signals[:2] == [signal.SIGTERM, signal.SIGKILL]


def test_F37_no_room_for_a_process_ends_the_start(stage):
    def refuse():
        raise OSError(24, "Too many open files")

    stage.refuse = refuse
    with pytest.raises(ModelError, match="Too many open files"):
        stage.supervisor.start()


def test_F37_no_room_for_a_process_later_is_tried_again(stage):
    stage.supervisor.start()
    refusals = []

    def refuse():
        if len(refusals) < 2:
            refusals.append(1)
            raise OSError(11, "Resource temporarily unavailable")

    stage.refuse = refuse
    stage.workers[0].die(Exit(1))
    wait_until(lambda: len(stage.up) == 2)
    assert len(refusals) == 2
    assert not stage.broken


def test_F09_a_crash_loop_breaks_it_and_close_still_works(stages):
    stage = stages(2)
    stage.supervisor.start()
    for n in range(4):
        wait_until(lambda: len(stage.up) == 2 + n)  # noqa: B023
        stage.workers[-1].die(Exit(signal=signal.SIGSEGV))
    wait_until(lambda: stage.broken)
    assert "SIGSEGV" in stage.broken[0]
    wait_until(lambda: not stage.supervisor.pids)
    assert len(stage.workers) == 5
    stage.supervisor.close()


def test_F09_workers_that_boot_no_more_break_it(stage):
    stage.supervisor.start()
    stage.greet = lambda worker: worker.die(Exit(1))
    stage.workers[0].die(Exit(1))
    wait_until(lambda: stage.broken)
    assert len(stage.workers) <= 5


def test_calls_end_even_when_the_supervisor_s_thread_does(stage):
    def ends_threads():
        raise SystemExit

    stage.supervisor.start()
    stage.supervisor.call(ends_threads)
    wait_until(lambda: stage.broken)
    assert "SystemExit" in stage.broken[0]
    wait_until(lambda: signal.SIGKILL in stage.workers[0].signals)
    stage.supervisor.close()


def test_F02_a_worker_without_progress_is_killed(stages):
    stage = stages(patience=Patience(stuck=0.3, stop=0.2, term=0.1, tick=0.05, restarts=RestartLimit(0)))
    stage.supervisor.start()
    stuck = stage.workers[0]
    stuck.mortal = False
    assert stuck.hear() == Stop()
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
    stage.supervisor.start()
    stopped, well = stage.workers
    with answering(well):
        wait_until(lambda: stage.deaths)
        assert "not answered" in stage.deaths[0].why
        assert stopped.signals[0] == signal.SIGTERM
        assert not well.signals


def test_F02_a_worker_that_is_stopped_while_it_boots_is_replaced(stages):
    stage = stages(2, Patience(silent_boot=0.5, term=0.1, tick=0.05))
    stage.supervisor.start()
    stage.greet = lambda worker: None
    stage.workers[0].die(Exit(1))
    wait_until(lambda: len(stage.workers) == 3)
    stopped = stage.workers[2]
    stage.greet = lambda worker: worker.say(Up())
    wait_until(lambda: len(stage.workers) == 4)
    assert signal.SIGTERM in stopped.signals


def test_a_worker_that_boots_for_long_and_answers_is_left_alone(stages):
    stage = stages(1, Patience(silent_boot=0.6, tick=0.05))
    stage.greet = lambda worker: None
    threading.Thread(target=stage.supervisor.start, daemon=True).start()
    wait_until(lambda: stage.workers)
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        while not isinstance(stage.workers[0].hear(), Ping):
            pass
        stage.workers[0].say(Pong(ExecutorStats()))
    stage.workers[0].say(Up())
    wait_until(lambda: stage.up)
    assert not stage.workers[0].signals


def test_a_worker_answers_before_its_engine_is_loaded():
    said = []

    class Socket:
        say = said.append

        def flush(self):
            said.append("sent")

    worker_main.WorkerMain(Socket(), None).take(Ping())
    assert said == [Pong(ExecutorStats()), "sent"]


def test_F52_workers_outlive_a_pause_of_the_whole_host(stages, monkeypatch):
    monkeypatch.setattr(patience_module, "_LONGEST_STEP", 0.1)
    stage = stages(2, Patience(silent=0.8, tick=0.05))
    stage.supervisor.start()
    with answering(*stage.workers):
        # What a pause looks like: nothing happens here, and the clock has gone on.
        stage.supervisor.call(lambda: time.sleep(1.2))
        said = len(stage.said)
        wait_until(lambda: len(stage.said) > said + 10)
        assert not stage.deaths


def test_the_ladder_ends_a_worker_that_does_not_stop(stage):
    stage.supervisor.start()
    stage.workers[0].mortal = False
    stage.supervisor.close()
    assert stage.workers[0].signals[:2] == [signal.SIGTERM, signal.SIGKILL]


def test_a_process_that_cannot_be_killed_is_left_behind(stages):
    stage = stages(patience=Patience(stop=0.1, term=0.1, linger=0.1, give_up=0.2, tick=0.05))
    stage.supervisor.start()
    stage.workers[0].send_signal = lambda _: None
    stage.supervisor.close()
    assert stage.supervisor.pids == ()


def test_F05_retiring_is_no_crash(stages):
    stage = stages(patience=Patience(stop=0.5, tick=0.05, restarts=RestartLimit(most=0)))

    def boot(worker):
        worker.say(Up())

    stage.greet = boot
    stage.supervisor.start()
    handles = list(stage.supervisor._workers.values())
    stage.supervisor.call(lambda: stage.supervisor.retire(handles[0]))
    assert stage.workers[0].hear() == Stop()
    while stage.workers[0].hear() != Stop():
        pass
    stage.workers[0].die(Exit(0))
    wait_until(lambda: len(stage.up) == 2)
    assert stage.deaths[0].expected
    assert not stage.broken


def test_F20_close_while_workers_load(stage):
    stage.greet = lambda worker: None
    found: list[BaseException] = []

    def start():
        try:
            stage.supervisor.start()
        except PoolClosed as error:
            found.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    wait_until(lambda: stage.workers)
    stage.supervisor.close()
    thread.join(20)
    assert found
    assert signal.SIGKILL in stage.workers[0].signals


def test_close_without_a_start(stage):
    stage.supervisor.close()
    stage.supervisor.close()
    with pytest.raises(PoolClosed):
        stage.supervisor.start()


def test_restarts_wait_longer_and_longer_until_it_is_too_much():
    restarts = Restarts(RestartLimit(most=3, period=30, first=1, longest=3), jitter=lambda: 0.5)
    assert [restarts.died(n, busy=False) for n in range(3)] == [0, 1, 2]
    assert restarts.died(3, busy=False) is None
    assert restarts.died(60, busy=False) == 0


def test_F09_a_death_at_work_is_made_good_and_never_too_many():
    policy = RestartLimit(most=1, period=30, first=0.1, longest_busy=1)
    restarts = Restarts(policy, jitter=lambda: 0.5)
    assert [restarts.died(n / 10, busy=True) for n in range(7)] == [0, 0.1, 0.2, 0.4, 0.8, 1, 1]
    assert restarts.died(1, busy=False) == 1
    assert restarts.died(2, busy=False) is None


def test_slow_failures_to_boot_do_not_go_on_for_ever():
    restarts = Restarts(RestartLimit(most=3, period=30))
    delays = [restarts.failed_to_boot(100.0 * n) for n in range(4)]
    assert None not in delays[:3]
    assert delays[3] is None
    restarts.booted()
    assert restarts.failed_to_boot(1000.0) is not None


def test_F52_a_pause_of_the_whole_host_does_not_count():
    times = iter([0.0, 1.0, 3601.0, 3601.5])
    clock = PatientClock(lambda: next(times))
    clock.tick()
    assert clock.now == 1.0
    clock.tick()
    assert clock.now == 3.0
    clock.tick()
    assert clock.now == 3.5


def test_quarantine_knows_content_not_options():
    now = [0.0]
    quarantine = Quarantine(600, lambda: now[0])
    for deaths in (1, 2):
        quarantine.add(Chat("poison", timeout=3), deaths)
        assert quarantine.deaths(Chat("poison", priority=2)) == deaths
    assert not quarantine.deaths(Chat("poison", max_tokens=2))
    now[0] = 601.0
    assert not quarantine.deaths(Chat("poison"))


def test_quarantine_forgets_what_ended_well():
    quarantine = Quarantine()
    quarantine.add(Chat("slow"), 1)
    quarantine.forget(Chat("slow", timeout=9))
    assert not quarantine.deaths(Chat("slow"))


def test_the_environment_of_a_worker_has_no_secrets():
    kept = scrub(
        {"PATH": "/bin", "AWS_SECRET": "x", "LC_ALL": "C", "OMP_NUM_THREADS": "2", "LD_PRELOAD": "x"}
    )
    assert kept.pop("PYTHONPATH")
    assert kept.pop("PYTHONSAFEPATH") == "1"
    assert kept == {"PATH": "/bin", "LC_ALL": "C", "OMP_NUM_THREADS": "2", "GGML_NO_BACKTRACE": "1"}


def test_workers_that_are_up_go_on_when_another_cannot_be_started(stages):
    stage = stages(1)
    stage.supervisor.start()
    refusals = []

    def refuse():
        refusals.append(1)
        raise OSError(11, "Resource temporarily unavailable")

    stage.refuse = refuse
    stage.supervisor.call(lambda: stage.supervisor.resize(2))
    wait_until(lambda: len(refusals) >= 6)
    assert not stage.broken
    stage.refuse = lambda: None
    wait_until(lambda: len(stage.up) == 2)


def test_what_is_called_while_a_round_is_worked_off_is_not_late(stages):
    stage = stages(1, Patience(tick=30.0))
    stage.supervisor.start()
    done = threading.Event()
    stage.supervisor.call(lambda: stage.supervisor.call(done.set))
    assert done.wait(10)
