"""The seating, over a link in memory: no processes, no threads, and time passes when a test says so."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from memory_link import CRASHED, KILLED, Played

from poolinfer import Chunk, Embed, Raw, Response
from poolinfer._checks.normalize import normalize
from poolinfer._data.events import Done, Failed, Job, Started
from poolinfer._data.stats import ExecutorStats
from poolinfer._executors import seating
from poolinfer._executors.seats import Assignment
from poolinfer._wire import frames
from poolinfer._wire.frames import Pong, Submit
from poolinfer.testing._executor_under_test import check_order

DONE = Done(Response("text"))


def ending(played: Played, job_id: int) -> Failed:
    """The failure of a job that has failed."""
    check_order(played.events[job_id])
    last = played.events[job_id][-1]
    assert isinstance(last, Failed)
    return last


def test_a_call_goes_to_a_worker_and_its_events_come_back():
    played = Played()
    assert played.submit(Raw("one")) == 1
    assert played.memory_link.hear(1) == [1]
    assert played.say(1, (1, Started(3)), (1, Chunk("text")), (1, DONE))
    assert played.events[1] == [Started(3), Chunk("text"), DONE]
    assert played.seating.stats() == ExecutorStats(workers=1, slots=2)


@dataclass(frozen=True)
class Prepared:
    """A kind of event that there is not yet."""


def test_only_the_start_of_a_call_that_runs_again_is_kept_back():
    """An event of another kind that came first was once taken for the start."""
    assignment = Assignment(Job(1, Raw("a")), lambda event: None)
    heard = [Prepared(), Started(3), Prepared(), Started(3), Chunk("a"), Started(3)]
    assert [assignment.is_news(event) for event in heard] == [True, True, True, False, True, False]
    assert assignment.seen


def test_a_call_that_finds_no_slot_is_refused():
    played = Played(slots=2)
    assert [played.submit(Raw("a")) for _ in range(3)] == [1, 2, None]
    played.say(1, (1, DONE))
    assert played.submit(Raw("a")) is not None


def test_the_worker_with_fewest_jobs_gets_the_next():
    played = Played(workers=2, slots=2)
    for _ in range(3):
        played.submit(Raw("a"))
    assert [played.memory_link.hear(number) for number in (1, 2)] == [[1, 3], [2]]


def test_calls_of_one_beginning_meet_at_one_worker():
    played = Played(workers=2, slots=8, routes=True)
    for text in "abab":
        played.submit(Raw(text * 600))
    assert [played.memory_link.hear(number) for number in (1, 2)] == [[1, 3], [2, 4]]


def test_a_worker_that_will_end_soon_gets_no_work():
    played = Played(workers=2, slots=2)
    played.memory_link.deaf.add(1)
    assert [played.submit(Raw("a")) for _ in range(3)] == [1, 2, None]
    assert played.memory_link.hear(2) == [1, 2]


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
def test_F63_events_that_cannot_be_end_the_worker(events):
    played = Played()
    played.submit(Raw("one"))
    played.submit(Raw("two"))
    played.say(1, (2, Chunk("partial")))
    assert played.say(1, *events) is None
    assert "protocol" in ending(played, 2).message
    if events[0][0] == 1:
        check_order(played.events[1])


def test_a_call_that_runs_again_starts_once():
    played = Played()
    played.submit(Raw("one"))
    played.say(1, (1, Started(3)))
    assert played.memory_link.go(1, CRASHED)
    assert played.memory_link.come() == 2
    assert played.memory_link.hear(2) == [1]
    played.say(2, (1, Started(3)), (1, Chunk("text")), (1, DONE))
    assert played.events[1] == [Started(3), Chunk("text"), DONE]


def test_a_call_that_was_seen_does_not_run_again():
    played = Played()
    played.submit(Raw("one"))
    played.say(1, (1, Started(3)), (1, Chunk("text")))
    played.memory_link.go(1, CRASHED)
    assert ending(played, 1).kind == "WorkerLost"
    assert not ending(played, 1).detail["suspect"]


def test_without_retries_no_call_runs_again():
    played = Played(retries=0)
    played.submit(Raw("one"))
    played.memory_link.go(1, CRASHED)
    assert ending(played, 1).kind == "WorkerLost"


def test_calls_that_run_again_do_so_one_by_one():
    played = Played()
    played.submit(Raw("one"))
    played.submit(Raw("two"))
    played.memory_link.go(1, CRASHED)
    played.memory_link.come()
    assert played.memory_link.hear(2) == [1]
    assert played.submit(Raw("three")) is None
    played.say(2, (1, DONE))
    assert played.events[1] == [DONE]
    assert played.memory_link.hear(2) == [2]
    played.memory_link.go(2, CRASHED)
    # Now it is known whose fault it was.
    assert ending(played, 2).detail["suspect"]


def test_an_empty_worker_is_kept_for_a_call_that_runs_again():
    played = Played()
    played.submit(Raw("one"))
    played.memory_link.go(1, CRASHED)
    played.memory_link.deaf.add(2)
    played.memory_link.come()
    played.memory_link.deaf.clear()
    assert played.submit(Raw("other")) is None
    played.memory_link.come()
    assert played.memory_link.hear(2) == [1]
    assert played.submit(Raw("other")) == 2
    assert played.memory_link.hear(3) == [2]


def suspect() -> Played:
    """Job 1 is lost after its text was seen; then job 2 has the next worker."""
    played = Played()
    played.submit(Raw("bad"))
    played.say(1, (1, Started(3)), (1, Chunk("text")))
    played.memory_link.go(1, CRASHED)
    assert ending(played, 1).kind == "WorkerLost"
    played.memory_link.come()
    played.submit(Raw("long"))
    assert played.memory_link.hear(2) == [2]
    return played


def test_F11_a_call_that_needs_a_worker_of_its_own_holds_up_no_other():
    played = suspect()
    assert played.submit(Raw("bad")) == 3
    assert played.submit(Raw("other")) == 4
    assert played.memory_link.hear(2) == [4]
    played.say(2, (4, DONE))
    played.say(2, (2, DONE))
    assert played.memory_link.hear(2) == [3]
    assert played.submit(Raw("beside it")) is None
    played.say(2, (3, DONE))
    assert played.events[3] == [DONE]


def test_F11_only_a_few_such_calls_are_accepted():
    played = suspect()
    assert [played.submit(Raw("bad")) for _ in range(3)] == [3, 4, None]
    for job_id in (2, 3):
        played.say(2, (job_id, DONE))
        assert played.memory_link.hear(2) == [job_id + 1]
    played.say(2, (4, DONE))
    assert played.seating.stats().busy == 0


def test_F11_a_worker_becomes_empty_for_a_call_that_has_waited_for_long():
    played = suspect()
    played.submit(Raw("bad"))
    played.memory_link.pass_time(4.9)
    assert played.submit(Raw("in time")) == 4
    played.say(2, (4, DONE))
    played.memory_link.pass_time(0.2)
    assert played.submit(Raw("too late")) is None
    assert played.memory_link.hear(2) == [4]
    played.say(2, (2, DONE))
    assert played.memory_link.hear(2) == [3]
    played.say(2, (3, DONE))
    assert played.events[3] == [DONE]


def test_F11_a_request_that_has_lost_two_workers_is_refused():
    played = suspect()
    played.say(2, (2, DONE))
    assert played.submit(Raw("bad")) == 3
    played.memory_link.go(2, CRASHED)
    assert ending(played, 3).detail["suspect"]
    played.memory_link.come()
    assert played.submit(Raw("bad")) == 4
    assert "refused" in ending(played, 4).message
    assert played.memory_link.hear(3) == []


def test_F11_a_request_that_ends_well_is_suspected_no_more():
    played = suspect()
    played.say(2, (2, DONE))
    played.submit(Raw("bad"))
    played.say(2, (3, DONE))
    assert [played.submit(Raw("bad")) for _ in range(2)] == [4, 5]
    assert played.memory_link.hear(2) == [3, 4, 5]


def test_F11_a_kill_from_outside_makes_no_request_suspect():
    played = Played()
    played.submit(Raw("popular"))
    played.say(1, (1, Chunk("text")))
    played.memory_link.go(1, KILLED)
    played.memory_link.come()
    assert [played.submit(Raw("popular")) for _ in range(2)] == [2, 3]
    assert played.memory_link.hear(2) == [2, 3]


def test_a_cancel_reaches_the_worker_after_its_call():
    played = Played()
    played.submit(Raw("one"))
    played.cancel(1)
    played.cancel(1)
    played.cancel(99)
    assert played.memory_link.hear(1) == [1, -1]


def test_a_cancel_that_overtakes_its_call_is_sent_again(monkeypatch):
    played, frame = Played(), seating.frame

    def cancel_first(message):
        if isinstance(message, Submit):
            played.seating.cancel(1)
        return frame(message)

    monkeypatch.setattr(seating, "frame", cancel_first)
    played.submit(Raw("one"))
    assert played.memory_link.hear(1) == [-1, 1, -1]


def test_a_cancel_of_a_call_that_waits_to_run_again():
    played = Played()
    played.submit(Raw("one"))
    played.submit(Raw("two"))
    played.memory_link.go(1, CRASHED)
    played.memory_link.come()
    assert played.memory_link.hear(2) == [1]
    played.cancel(2)
    assert ending(played, 2).kind == "CallCancelled"
    played.cancel(1)
    assert played.memory_link.hear(2) == [-1]


def test_F02_a_worker_that_ignores_a_cancel_is_killed_after_the_grace():
    played = Played(workers=2, slots=1, cancel_grace=15.0)
    played.submit(Raw("one"))
    played.submit(Raw("two"))
    played.cancel(1)
    played.memory_link.pass_time(1)
    played.memory_link.pass_time(14.9)
    assert not played.memory_link.killed
    played.memory_link.pass_time(0.2)
    assert "ignored a cancel for 15.0 s" in played.memory_link.killed[1]
    assert ending(played, 1).kind == "CallCancelled"
    assert not played.events[2]
    assert played.seating.stats().crashed == 1


def test_a_cancelled_call_does_not_run_again():
    played = Played()
    played.submit(Raw("one"))
    played.cancel(1)
    played.memory_link.go(1, CRASHED)
    assert ending(played, 1).kind == "CallCancelled"


def test_embeddings_run_again_too():
    played = Played()
    played.submit(Embed(("a", "b")))
    played.say(1, (1, Started(3)))
    played.memory_link.go(1, CRASHED)
    played.memory_link.come()
    assert played.memory_link.hear(2) == [1]
    played.say(2, (1, Done(())))
    assert played.events[1] == [Started(3), Done(())]


def test_progress_is_a_step_or_an_event_or_an_idle_lane():
    played = Played()
    link = played.memory_link
    assert link.say(1, Pong(ExecutorStats(steps=5, busy=1)))
    assert not link.say(1, Pong(ExecutorStats(steps=5, busy=1)))
    assert link.say(1, Pong(ExecutorStats(steps=6, busy=1)))
    assert link.say(1, Pong(ExecutorStats(steps=6, busy=0)))


def test_counters_of_dead_workers_are_kept():
    played = Played()
    played.memory_link.say(1, Pong(ExecutorStats(steps=5, completion_tokens=7, memory=(100,))))
    played.memory_link.go(1, CRASHED)
    assert played.seating.stats().memory == ()
    played.memory_link.come()
    played.memory_link.say(2, Pong(ExecutorStats(steps=2, completion_tokens=1, memory=(80,))))
    stats = played.seating.stats()
    assert (stats.steps, stats.completion_tokens, stats.memory, stats.crashed) == (7, 8, (80,), 1)


def test_an_emit_that_raises_costs_nobody_else():
    def broken(_):
        raise RuntimeError("a bug of the host")

    played = Played()
    assert played.seating.submit(Job(7, normalize(Raw("one"))), broken)
    assert played.submit(Raw("two")) == 1
    played.say(1, (7, Chunk("a")), (7, DONE), (1, DONE))
    assert played.events[1] == [DONE]
    assert played.seating.stats().busy == 0


def test_a_request_too_long_to_send_fails_by_itself(monkeypatch):
    played = Played()
    monkeypatch.setattr(frames, "MAX_FRAME", 2000)
    played.submit(Raw("x" * 3000))
    assert ending(played, 1).kind == "InvalidRequest"
    assert played.submit(Raw("short")) == 2


def test_when_no_worker_will_come_any_more_every_call_fails():
    played = Played()
    played.submit(Raw("one"))
    played.memory_link.owner.on_broken("they keep dying")
    assert ending(played, 1).kind == "PoolBroken"
    assert played.submit(Raw("two")) == 2
    assert ending(played, 2).message == "they keep dying"
    # The worker does not know, and goes on for a moment.
    assert played.say(1, (1, DONE))
    assert played.seating.stats().broken


def test_closing_ends_what_runs_and_what_waits():
    played = Played()
    for text in ("one", "two"):
        played.submit(Raw(text))
    played.memory_link.go(1, CRASHED)
    played.memory_link.come()
    assert played.memory_link.hear(2) == [1]
    played.seating.close(0)
    assert [ending(played, job_id).kind for job_id in (1, 2)] == ["CallCancelled"] * 2
    assert played.submit(Raw("three")) is None
    played.seating.close(0)
