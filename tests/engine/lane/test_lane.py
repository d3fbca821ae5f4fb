"""The lane's steps, one by one, on a fake engine with a virtual clock."""

from __future__ import annotations

import pytest
from rides import CostedEngine, Ride, raw

from poolinfer import Embed, InvalidRequest, Raw
from poolinfer._data.events import Done, Failed, Started
from poolinfer._data.results import Embedding

pytestmark = pytest.mark.usefixtures("memory")


def test_a_lone_prompt_is_computed_in_whole_batches() -> None:
    ride = Ride(CostedEngine(tokens=2))
    ride.join(1, raw("x" * 1200))
    ride.run()
    assert [rows[next(iter(rows))] for rows in ride.engine.steps_rows] == [64, 512, 512, 112, 1, 1]


def test_calls_join_and_leave_between_steps() -> None:
    ride = Ride(CostedEngine())
    ride.join(1, raw("aaaa"))
    ride.step(2)
    ride.join(2, raw("bb"))
    ride.step()
    assert len(ride.engine.steps_rows[-1]) == 2
    ride.run()
    assert (ride.text(1), ride.text(2)) == ("aaaa", "bb")
    assert isinstance(ride.said[2][0], Started)
    ride.join(3, raw("c"))
    ride.run()
    assert ride.text(3) == "c"


def test_running_sequences_lie_side_by_side() -> None:
    """llama.cpp computes rows of separate KV streams together only where their numbers follow one another."""
    ride = Ride(CostedEngine(), slots=8)
    for n, text in enumerate(("aaaaaaaa", "b", "cccccccc", "d")):
        ride.join(n, raw(text))
    ride.step(3)
    assert sorted(ride.engine.steps_rows[-1]) == [0, 2]
    ride.join(4, raw("eeee"))
    ride.step()
    assert sorted(ride.engine.steps_rows[-1]) == [0, 1, 2]


def test_a_long_prompt_beside_a_stream_keeps_steps_under_the_target() -> None:
    ride = Ride(CostedEngine(tokens=300))
    ride.join(1, raw("s"))
    ride.step(5)
    ride.join(2, raw("y" * 2000, max_tokens=1))
    began = len(ride.engine.steps_rows)
    while not ride.tasks[2].ended:
        before = ride.engine.now
        ride.step()
        assert ride.engine.now - before <= 0.25 + 1e-6
    steps = ride.engine.steps_rows[began:]
    assert all(rows[sequence] == 1 for rows in steps for sequence in rows if rows[sequence] == 1)
    assert all(0 in rows for rows in steps)  # the stream had a token in every one of them
    assert sum(len(rows) == 2 for rows in steps) > 0.9 * len(steps)  # and the prompt nearly so
    assert len(steps) < 2000 / 64  # and the budget grew beyond the first guess


def test_a_stopped_step_costs_the_neighbours_nothing_but_time() -> None:
    engine = CostedEngine()
    engine.abort_at = 3
    ride = Ride(engine)
    ride.join(1, raw("hello"))
    ride.join(2, raw("neighbour"))
    ride.step(2)
    ride.lane.cancel(ride.tasks[1])
    ride.run()
    assert isinstance(ride.said[1][-1], Failed)
    assert ride.said[1][-1].kind == "CallCancelled"
    assert ride.text(2) == "neighbour"
    assert "".join(e.text for e in ride.said[2] if hasattr(e, "text")) == "neighbour"


def test_rows_of_a_stopped_step_are_counted_once() -> None:
    ride = Ride(CostedEngine())
    ride.engine.abort_at = 1
    ride.join(1, raw("hello" * 5))
    ride.join(2, raw("neighbour" * 5))
    ride.run()
    assert ride.text(2) == "neighbour" * 5
    assert ride.lane.counters.prompt_tokens == 25 + 45


def test_what_closing_asked_for_is_not_taken_back() -> None:
    """A step that was about to begin when the pool closed does not run to its end."""
    ride = Ride(CostedEngine(tokens=1000))
    ride.join(1, raw("one"))
    ride.step(2)
    said = len(ride.said[1])
    ride.lane.close()
    ride.step()
    assert len(ride.said[1]) == said


def test_a_prompt_without_tokens_is_refused_before_it_meets_a_neighbour() -> None:
    ride = Ride(CostedEngine())
    with pytest.raises(InvalidRequest, match="it has no tokens") as caught:
        ride.join(1, raw(""))
    assert caught.value.field == "prompt"


def test_a_stop_text_that_the_end_reveals_is_why_it_ended() -> None:
    """As long as the longer one may still come, the shorter one is held back."""
    ride = Ride(CostedEngine(tokens=1000))
    ride.ask(1, Raw("xyz", stop=("xyzw", "yz"), max_tokens=3, temperature=0.0))
    assert ride.text(1) == "x"
    assert ride.response(1).finish_reason == "stop"


def test_F12_a_failed_step_fails_its_calls_and_the_context_is_clean_after() -> None:
    ride = Ride(CostedEngine(raise_after=3))
    ride.join(1, raw("one"))
    ride.join(2, raw("two"))
    ride.run()
    for job_id in (1, 2):
        last = ride.said[job_id][-1]
        assert isinstance(last, Failed)
        assert last.kind == "EngineError"
    ride.join(3, raw("three"))
    ride.run()
    assert ride.text(3) == "three"


def test_embed_calls_take_turns_with_generation() -> None:
    ride = Ride(CostedEngine(tokens=40))
    ride.join(1, raw("stream"))
    ride.step(3)
    ride.join(2, Embed(tuple(f"text {n}" for n in range(200))))
    while not ride.tasks[2].ended:
        steps = ride.lane.counters.completion_tokens
        ride.step()
        assert ride.lane.counters.completion_tokens == steps + 1
    last = ride.said[2][-1]
    assert isinstance(last, Done)
    assert len(last.result) == 200  # type: ignore[arg-type]
    assert all(isinstance(item, Embedding) for item in last.result)  # type: ignore[union-attr]


def test_embed_calls_are_not_kept_waiting_by_prompts() -> None:
    ride = Ride(CostedEngine(tokens=2))
    for n in range(3):
        ride.join(n, raw(f"{n}" * 3000))
    ride.step(2)
    ride.join(10, Embed(("a short text",)))
    ride.step()
    assert ride.tasks[10].ended
    assert not any(ride.tasks[n].ended for n in range(3))


def test_prompts_are_not_kept_waiting_by_embed_calls() -> None:
    ride = Ride(CostedEngine(tokens=2), slots=40)
    for n in range(30):
        ride.join(n, Embed(("text " * 400,)))
    ride.step(2)
    ride.join(100, raw("short"))
    ride.step()
    assert ride.lane.counters.completion_tokens == 1


@pytest.mark.parametrize("closing", [False, True])
def test_closing_ends_every_call_once(closing: bool) -> None:
    ride = Ride(CostedEngine(tokens=1000))
    ride.join(1, raw("one"))
    ride.step(2)
    ride.join(2, raw("two"))  # still in the inbox
    if closing:
        ride.lane.close()
        ride.lane.run()
    else:
        ride.lane.discard()
    for job_id in (1, 2):
        assert [type(event) for event in ride.said[job_id] if isinstance(event, Done | Failed)] == [Failed]
    assert all(context.closed for context in ride.engine.contexts)


def test_max_steps_are_one_per_token() -> None:
    """Sixteen slots together cost the steps of the longest call, and not the sum."""
    ride = Ride(CostedEngine(), slots=16)
    for n in range(16):
        ride.join(n, raw("z" * (n + 1)))
    ride.run()
    # Two more at first, to learn what rows cost.
    assert len(ride.engine.steps_rows) == 2 + 1 + 16
