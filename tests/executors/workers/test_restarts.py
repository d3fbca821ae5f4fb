"""When a worker that is gone is started again, and when that is too much (F-09, F-52)."""

from __future__ import annotations

from poolinfer._executors.workers.patience import PatientClock
from poolinfer._executors.workers.restarts import RestartLimit, Restarts


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
