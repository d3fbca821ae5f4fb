"""Workers come and go, as the seating wants them to or by themselves, over a link in memory."""

from __future__ import annotations

import pytest
from memory_link import Played

from poolinfer import Chunk, Raw, Response
from poolinfer._data.events import Done, Failed
from poolinfer._executors.sizing import Sizing

DONE = Done(Response("text"))


def test_one_more_worker_is_wanted_at_a_time_while_calls_find_no_room():
    played = Played(slots=1, sizing=Sizing(least=1, most=3))
    link = played.memory_link
    assert [played.submit(Raw("a")) for _ in range(3)] == [1, None, None]
    assert link.size == 2
    link.come()
    assert played.rooms == 2
    assert [played.submit(Raw("a")) for _ in range(2)] == [2, None]
    link.come()
    assert [played.submit(Raw("a")) for _ in range(2)] == [3, None]
    assert link.size == 3


def test_a_worker_that_is_idle_for_long_ends_and_is_not_replaced():
    played = Played(slots=1, sizing=Sizing(least=1, most=2, idle_timeout=60))
    link = played.memory_link
    played.submit(Raw("a"))
    played.submit(Raw("a"))
    link.come()
    played.submit(Raw("a"))
    link.pass_time(10)
    played.say(1, (1, DONE))
    link.pass_time(59)
    assert link.up == [1, 2]
    link.pass_time(2)
    assert link.up == [2]
    assert link.size == 1
    link.pass_time(100)
    assert link.up == [2]
    assert (played.seating.stats().crashed, played.seating.stats().recycled) == (0, 0)


@pytest.mark.parametrize("bound", [{"max_age": 50}, {"max_calls": 1}, {"max_rss": 1000}])
def test_old_workers_are_replaced_one_at_a_time_and_when_they_are_idle(bound):
    played = Played(workers=2, slots=1, sizing=Sizing(2, 2, **bound))
    link = played.memory_link
    link.bytes = {1: 2000, 2: 2000, 3: 10}
    for _ in range(2):
        played.submit(Raw("a"))
    link.pass_time(60)
    assert link.up == [1, 2]
    played.say(1, (1, DONE))
    played.say(2, (2, DONE))
    assert link.up == [2]
    link.pass_time(0)
    assert link.up == [2]
    link.come()
    link.pass_time(0)
    assert link.up == [3]
    assert link.size == 2
    assert (played.seating.stats().crashed, played.seating.stats().recycled) == (0, 2)


def test_a_worker_that_has_served_nothing_is_not_too_large():
    played = Played(sizing=Sizing(max_rss=1000))
    played.memory_link.bytes = {1: 2000}
    played.memory_link.pass_time(10)
    assert played.memory_link.up == [1]


class TestWorkersThatComeByThemselves:
    """As peers behind a ZeroMQ socket will: the link, and not the seating, decides that there is a worker."""

    def make(self) -> Played:
        return Played(workers=0, comes_by_itself=True, sizing=Sizing(0, 0))

    def test_calls_wait_in_the_pool_until_one_comes(self):
        played = self.make()
        assert played.submit(Raw("early")) is None
        assert played.memory_link.come() == 1
        assert played.rooms == 1
        assert played.submit(Raw("one")) == 1
        assert played.memory_link.size == 0

    def test_each_that_comes_gets_work(self):
        played = self.make()
        for _ in range(3):
            played.memory_link.come()
        assert [played.submit(Raw("a")) for _ in range(7)] == [1, 2, 3, 4, 5, 6, None]
        assert [played.memory_link.hear(number) for number in (1, 2, 3)] == [[1, 4], [2, 5], [3, 6]]
        assert played.seating.stats().slots == 6

    def test_one_that_leaves_idle_is_no_crash_and_is_not_missed(self):
        played = self.make()
        played.memory_link.come()
        played.memory_link.come()
        played.memory_link.retire(1)
        assert played.submit(Raw("one")) == 1
        assert played.memory_link.hear(2) == [1]
        assert (played.seating.stats().workers, played.seating.stats().crashed) == (1, 0)

    def test_the_calls_of_one_that_falls_silent_run_again_on_another(self):
        played = self.make()
        played.memory_link.come()
        played.submit(Raw("unseen"))
        played.submit(Raw("seen"))
        played.say(1, (2, Chunk("text")))
        played.memory_link.kill(1, "it has been silent for 2 s")
        lost = played.events[2][-1]
        assert isinstance(lost, Failed)
        assert "silent" in lost.message
        assert not played.events[1]
        played.memory_link.come()
        assert played.memory_link.hear(2) == [1]
        played.say(2, (1, DONE))
        assert played.events[1] == [DONE]

    def test_none_is_ended_for_being_idle(self):
        played = self.make()
        played.memory_link.come()
        played.memory_link.pass_time(10_000)
        assert played.memory_link.up == [1]
