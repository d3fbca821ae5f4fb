"""The supervisor, with workers that a test plays itself."""

from __future__ import annotations

import signal
import threading

import pytest
from corrupt_frames import CORRUPT

from poolinfer import ModelError, PoolClosed
from poolinfer._data.events import Failed, Started
from poolinfer._data.stats import ExecutorStats
from poolinfer._executors.workers.death import Death, ExitStatus
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.restarts import RestartLimit
from poolinfer._wire.frames import Boot, BootFailed, Burst, Pong, Stop, Up
from poolinfer.testing import wait_until


def test_it_boots_hears_and_stops(stages):
    stage = stages(2)
    stage.start()
    assert sorted(stage.up) == [1000, 1001] == sorted(stage.supervisor.pids)
    stage.workers[1].say(Pong(ExecutorStats()), Burst(((1, Started()),)))
    wait_until(lambda: len(stage.said) == 2)
    for worker in stage.workers:
        assert isinstance(worker.hear(), Boot)
    stage.close_all()
    assert len(stage.deaths) == 2
    assert all(death.expected for death in stage.deaths)
    assert stage.supervisor.pids == ()


def test_F07_a_death_is_noticed_by_the_end_of_the_stream_and_made_good(stage):
    stage.start()
    stage.workers[0].print("last words")
    stage.workers[0].die(ExitStatus(7))
    wait_until(lambda: len(stage.up) == 2)
    assert stage.deaths == [Death(ExitStatus(7), "last words")]


def test_F18_a_death_without_an_end_of_the_stream_is_noticed(stage):
    stage.start()
    stage.workers[0].die(ExitStatus(), silently=True)
    wait_until(lambda: len(stage.up) == 2)
    assert "unknown" in str(stage.deaths[0])


def test_a_stream_that_ends_without_a_death_becomes_one(stage):
    stage.start()
    stage.workers[0].socket.close()
    wait_until(lambda: len(stage.up) == 2)
    assert stage.workers[0].signals == [signal.SIGKILL]


@pytest.mark.parametrize("data", [*CORRUPT.values(), None], ids=[*CORRUPT.keys(), "length 2^31"])
def test_F63_a_corrupt_frame_costs_the_worker(stage, data):
    stage.start()
    head = (2**31 if data is None else len(data)).to_bytes(4, "big")
    stage.workers[0].socket.sendall(head + (data or b""))
    wait_until(lambda: len(stage.up) == 2)
    assert stage.deaths[0].why.startswith("protocol: ")
    assert stage.workers[0].signals[0] == signal.SIGKILL


def test_F63_a_worker_that_is_not_up_has_nothing_to_say(stage):
    stage.greet = lambda worker: worker.say(Burst(()), Up())
    with pytest.raises(ModelError, match="protocol"):
        stage.start()


def test_F63_a_worker_boots_only_once(stage):
    stage.start()
    stage.workers[0].say(Up())
    wait_until(lambda: stage.deaths)
    assert stage.deaths[0].why.startswith("protocol: ")


def test_F08_the_first_failure_to_boot_ends_the_start(stages):
    stage = stages(3)
    stage.greet = lambda worker: worker.print("no libgomp.so.1") or worker.die(ExitStatus(127))
    with pytest.raises(ModelError, match=r"(?s)exit status 127.*no libgomp"):
        stage.start()
    assert len(stage.workers) == 3
    assert stage.supervisor.pids == ()
    with pytest.raises(PoolClosed):
        stage.start()


def test_F08_a_worker_says_why_it_does_not_boot(stage):
    def fail(worker):
        worker.say(BootFailed(Failed("ModelError", "the file changed")))
        worker.die(ExitStatus(3))

    stage.greet = fail
    with pytest.raises(ModelError, match="the file changed"):
        stage.start()


def test_F08_a_worker_that_never_boots_is_killed(stages):
    stage = stages(patience=Patience(boot=0.2, term=0.1, tick=0.05))
    stage.greet = lambda worker: setattr(worker, "mortal", False)
    with pytest.raises(ModelError, match="not up within"):
        stage.start()
    assert stage.workers[0].signals[:2] == [signal.SIGTERM, signal.SIGKILL]


def test_F37_no_room_for_a_process_ends_the_start(stage):
    def refuse():
        raise OSError(24, "Too many open files")

    stage.refuse = refuse
    with pytest.raises(ModelError, match="Too many open files"):
        stage.start()


def test_F37_no_room_for_a_process_later_is_tried_again(stage):
    stage.start()
    refusals = []

    def refuse():
        if len(refusals) < 2:
            refusals.append(1)
            raise OSError(11, "Resource temporarily unavailable")

    stage.refuse = refuse
    stage.workers[0].die(ExitStatus(1))
    wait_until(lambda: len(stage.up) == 2)
    assert len(refusals) == 2
    assert not stage.broken


def test_F09_a_crash_loop_breaks_it_and_close_still_works(stages):
    stage = stages(2)
    stage.start()
    for n in range(4):
        wait_until(lambda: len(stage.up) == 2 + n)  # noqa: B023
        stage.workers[-1].die(ExitStatus(signal=signal.SIGSEGV))
    wait_until(lambda: stage.broken)
    assert "SIGSEGV" in stage.broken[0]
    wait_until(lambda: not stage.supervisor.pids)
    assert len(stage.workers) == 5
    stage.supervisor.close()


def test_F09_workers_that_boot_no_more_break_it(stage):
    stage.start()
    stage.greet = lambda worker: worker.die(ExitStatus(1))
    stage.workers[0].die(ExitStatus(1))
    wait_until(lambda: stage.broken)
    assert len(stage.workers) <= 5


def test_calls_end_even_when_the_supervisor_s_thread_does(stage):
    def ends_threads():
        raise SystemExit

    stage.start()
    stage.supervisor.run_soon(ends_threads)
    wait_until(lambda: stage.broken)
    assert "SystemExit" in stage.broken[0]
    wait_until(lambda: signal.SIGKILL in stage.workers[0].signals)
    stage.supervisor.close()


def test_the_ladder_ends_a_worker_that_does_not_stop(stage):
    stage.start()
    stage.workers[0].mortal = False
    stage.supervisor.close()
    assert stage.workers[0].signals[:2] == [signal.SIGTERM, signal.SIGKILL]


def test_a_process_that_cannot_be_killed_is_left_behind(stages):
    stage = stages(patience=Patience(stop=0.1, term=0.1, linger=0.1, give_up=0.2, tick=0.05))
    stage.start()
    stage.workers[0].send_signal = lambda _: None
    stage.supervisor.close()
    assert stage.supervisor.pids == ()


def test_F05_retiring_is_no_crash(stages):
    stage = stages(patience=Patience(stop=0.5, tick=0.05, restarts=RestartLimit(most=0)))
    stage.start()
    (number,) = stage.supervisor._workers
    stage.supervisor.run_soon(lambda: stage.supervisor.retire(number))
    while stage.workers[0].hear() != Stop():
        pass
    stage.workers[0].die(ExitStatus(0))
    wait_until(lambda: len(stage.up) == 2)
    assert stage.deaths[0].expected
    assert not stage.broken


def test_F20_close_while_workers_load(stage):
    stage.greet = lambda worker: None
    found: list[BaseException] = []

    def start():
        try:
            stage.start()
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
        stage.start()


def test_workers_that_are_up_go_on_when_another_cannot_be_started(stages):
    stage = stages(1)
    stage.start()
    refusals = []

    def refuse():
        refusals.append(1)
        raise OSError(11, "Resource temporarily unavailable")

    stage.refuse = refuse
    stage.supervisor.run_soon(lambda: stage.supervisor.resize(2))
    wait_until(lambda: len(refusals) >= 6)
    assert not stage.broken
    stage.refuse = lambda: None
    wait_until(lambda: len(stage.up) == 2)


def test_what_is_called_while_a_round_is_worked_off_is_not_late(stages):
    stage = stages(1, Patience(tick=30.0))
    stage.start()
    done = threading.Event()
    stage.supervisor.run_soon(lambda: stage.supervisor.run_soon(done.set))
    assert done.wait(10)
