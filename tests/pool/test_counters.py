"""A counter is summed, sent and shown because it is a field: nobody lists the counters a second time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, cast

import pytest
from memory_link import Played

from poolinfer import Pool, PoolStats, Raw, Response
from poolinfer._data.stats import CallCounts, ExecutorStats, LaneCounters, Quantiles, SeatingCounts
from poolinfer._executors.seats import Seat, Seats
from poolinfer._executors.thread import ThreadExecutor
from poolinfer._pool.counters import Counters
from poolinfer._wire.codec import decode, encode
from poolinfer._wire.frames import Pong
from poolinfer.testing import FakeExecutor, fake_pool


def _names(kind: Any) -> list[str]:
    return [item.name for item in fields(kind)]


@pytest.mark.parametrize("name", _names(LaneCounters))
def test_what_a_lane_counts_is_summed_over_the_lanes_of_a_process(name):
    with fake_pool(workers=2) as pool:
        executor = cast("ThreadExecutor", pool._lifecycle._executor)
        before = getattr(executor.stats(), name)
        for seat, count in zip(executor._seats, (3, 4), strict=True):
            setattr(seat.lane.counters, name, getattr(seat.lane.counters, name) + count)
        assert getattr(executor.stats(), name) == before + 7


@pytest.mark.parametrize("name", _names(LaneCounters))
def test_what_a_lane_counts_is_summed_over_workers_and_kept_when_they_are_gone(name):
    seats = Seats(slots=4, takes_work=lambda number: True)
    for number, count in enumerate((3, 4, 5)):
        seats[number] = Seat(number, now=0.0)
        seats[number].stats = ExecutorStats(**{name: count})
    seats.remove(0)
    seats.remove(2)
    assert getattr(seats.stats(), name) == 12
    assert seats.stats().workers == 1


@pytest.mark.parametrize("name", _names(SeatingCounts))
def test_what_an_executor_counts_of_its_workers_is_in_its_statistics(name):
    played = Played()
    setattr(played.seating._counts, name, 7)
    assert getattr(played.seating.stats(), name) == 7


@pytest.mark.parametrize("kind", [LaneCounters, SeatingCounts, CallCounts])
def test_what_is_counted_is_shown(kind):
    assert set(_names(kind)) <= set(_names(PoolStats if kind is CallCounts else ExecutorStats))


@pytest.mark.parametrize("name", _names(ExecutorStats))
def test_what_a_worker_says_of_itself_is_sent(name):
    kind = type(getattr(ExecutorStats(), name))
    said = Pong(ExecutorStats(**{name: (5, 6) if kind is tuple else kind(5)}))
    assert decode(encode(said)) == said
    assert getattr(said.stats, name) != getattr(ExecutorStats(), name)


@pytest.mark.parametrize("name", sorted(set(_names(ExecutorStats)) & set(_names(PoolStats))))
def test_what_an_executor_says_is_in_the_statistics_unless_the_pool_counts_it(name):
    told = ExecutorStats(**{name: (7,) if name == "memory" else 7})
    counted = name in _names(CallCounts)
    assert getattr(Counters().snapshot(1.0, told), name) == (0 if counted else getattr(told, name))


@pytest.mark.parametrize("name", _names(CallCounts))
def test_what_a_pool_counts_is_in_the_statistics(name):
    counters = Counters()
    setattr(counters, name, 7)
    assert getattr(counters.snapshot(1.0, ExecutorStats()), name) == 7


@pytest.mark.parametrize("name", _names(PoolStats))
def test_every_number_of_a_pool_is_in_its_table_and_its_repr(name):
    given: Any = Quantiles(7.0, 7.0, 7.0) if name in ("ttft", "latency") else 7
    stats = PoolStats(**{name: given})
    assert f"<th>{name}</th><td>{given}</td>" in stats._repr_html_()
    assert f"{name}={given!r}" in repr(stats)


def test_a_new_counter_is_one_field():
    @dataclass(frozen=True)
    class LargerStats(PoolStats):
        spilled: int = 0
        retried: int = field(default=0, metadata={"word": "run again"})

    stats = LargerStats(accepted=2, succeeded=1, failed=1, spilled=3, retried=4)
    assert "1/2 calls done, 1 failed, 4 run again, 0 running" in str(stats)
    assert "<th>spilled</th><td>3</td>" in stats._repr_html_()
    assert "run again" not in str(LargerStats(spilled=3))


def test_the_text_names_each_bad_end_that_there_was():
    with fake_pool() as pool:
        pool.chat("one")
        with pool.submit(Raw("two", max_tokens=1000)):
            pass
    assert " 1 cancelled," in str(pool.stats())
    assert str(PoolStats(failed=1, cancelled=2, expired=3, rejected=4)).startswith(
        "new: 0/0 calls done, 1 failed, 2 cancelled, 3 expired, 4 refused, 0 running"
    )


def test_whoever_waits_for_a_call_is_woken_even_if_counting_fails(monkeypatch):
    woken = []
    with Pool(executor=FakeExecutor(manual=True)) as pool:
        call = pool.submit(Raw("a"))
        call._ticket.wake_at_end(lambda: woken.append(call.done()))
        monkeypatch.setattr(Counters, "end", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pool._lifecycle._dispatcher._end(call._ticket, Response("a"))
        assert woken == [True]
        assert call.result().text == "a"
        pool.close(0)
