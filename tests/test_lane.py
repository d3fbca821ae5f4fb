"""The lane's steps, one by one, on a fake engine with a virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from poolinfer import Chat, Embed, Raw
from poolinfer._engine.base import Batch, EngineAborted
from poolinfer._engine.lane import Lane
from poolinfer._engine.prepare import prepare
from poolinfer._engine.prompts import Prompter
from poolinfer._engine.slot import Task
from poolinfer._events import Done, Event, Failed, Job, Started
from poolinfer._results import Embedding, Response
from poolinfer._spec import LaneSpec
from poolinfer.testing import FakeEngine
from poolinfer.testing._fake_engine import FakeContext


class CostedEngine(FakeEngine):
    """Steps that last `base` seconds and `per_row` for each row of a prompt, of a virtual clock."""

    base, per_row = 0.050, 0.002

    def __init__(self, tokens: int | None = None, raise_after: int | None = None) -> None:
        super().__init__(tokens=tokens, raise_after=raise_after)
        self.now = 100.0
        self.steps_rows: list[dict[int, int]] = []
        self.abort_at: int | None = None

    def context(self, *, n_seq: int, n_ctx: int, embeddings: bool = False) -> FakeContext:
        context = super().context(n_seq=n_seq, n_ctx=n_ctx, embeddings=embeddings)
        decode = context.decode

        def costed(batch: Batch) -> None:
            rows: dict[int, int] = {}
            assert embeddings or batch.sequences == sorted(batch.sequences)
            for sequence in batch.sequences:
                rows[sequence] = rows.get(sequence, 0) + 1
            self.steps_rows.append(rows)
            prompt = sum(n for n in rows.values() if n > 1)
            self.now += self.base + self.per_row * prompt
            if len(self.steps_rows) == self.abort_at:
                raise EngineAborted("stopped")
            decode(batch)

        context.decode = costed  # type: ignore[method-assign]
        return context


@dataclass
class Ride:
    """A lane that the test steps by hand, and what its tasks said."""

    engine: CostedEngine
    slots: int = 4
    said: dict[int, list[Event]] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spec = LaneSpec(slots=self.slots, n_ctx=4096, n_batch=512, latency_target=0.25)
        self.lane = Lane(self.engine, spec, lambda: self.engine.now)
        self.prompter = Prompter(self.engine)

    def join(self, job_id: int, request: Chat | Raw | Embed) -> None:
        self.said[job_id] = []
        task = prepare(Job(job_id, request), self.said[job_id].append, self.prompter, 4096)
        self.tasks[job_id] = task
        self.lane.expect()
        self.lane.add(task)

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.lane._step()

    def run(self) -> None:
        while not all(task.ended for task in self.tasks.values()):
            self.step()

    def text(self, job_id: int) -> str:
        last = self.said[job_id][-1]
        assert isinstance(last, Done), last
        assert isinstance(last.result, Response)
        return last.result.text


def _raw(text: str, max_tokens: int | None = None) -> Raw:
    return Raw(text, temperature=0.0, max_tokens=max_tokens)


def test_a_lone_prompt_is_computed_in_whole_batches() -> None:
    ride = Ride(CostedEngine(tokens=2))
    ride.join(1, _raw("x" * 1200))
    ride.run()
    assert [rows[next(iter(rows))] for rows in ride.engine.steps_rows] == [512, 512, 176, 1, 1]


def test_calls_join_and_leave_between_steps() -> None:
    ride = Ride(CostedEngine())
    ride.join(1, _raw("aaaa"))
    ride.step(2)
    ride.join(2, _raw("bb"))
    ride.step()
    assert len(ride.engine.steps_rows[-1]) == 2
    ride.run()
    assert (ride.text(1), ride.text(2)) == ("aaaa", "bb")
    assert isinstance(ride.said[2][0], Started)
    ride.join(3, _raw("c"))
    ride.run()
    assert ride.text(3) == "c"


def test_running_sequences_lie_side_by_side() -> None:
    """llama.cpp computes rows of separate KV streams together only where their numbers follow one another."""
    ride = Ride(CostedEngine(), slots=8)
    for n, text in enumerate(("aaaaaaaa", "b", "cccccccc", "d")):
        ride.join(n, _raw(text))
    ride.step(3)
    assert sorted(ride.engine.steps_rows[-1]) == [0, 2]
    ride.join(4, _raw("eeee"))
    ride.step()
    assert sorted(ride.engine.steps_rows[-1]) == [0, 1, 2]


def test_a_long_prompt_beside_a_stream_keeps_steps_under_the_target() -> None:
    ride = Ride(CostedEngine(tokens=300))
    ride.join(1, _raw("s"))
    ride.step(5)
    ride.join(2, _raw("y" * 2000, max_tokens=1))
    began = len(ride.engine.steps_rows)
    while not ride.tasks[2].ended:
        before = ride.engine.now
        ride.step()
        assert ride.engine.now - before <= 0.25 + 1e-6
    steps = ride.engine.steps_rows[began:]
    assert all(rows[sequence] == 1 for rows in steps for sequence in rows if rows[sequence] == 1)
    assert all(len(rows) == 2 for rows in steps)  # the stream had a token in every one of them
    assert len(steps) < 2000 / 64  # and the budget grew beyond the first guess


def test_a_stopped_step_costs_the_neighbours_nothing_but_time() -> None:
    engine = CostedEngine()
    engine.abort_at = 3
    ride = Ride(engine)
    ride.join(1, _raw("hello"))
    ride.join(2, _raw("neighbour"))
    ride.step(2)
    ride.lane.cancel(ride.tasks[1])
    ride.run()
    assert isinstance(ride.said[1][-1], Failed)
    assert ride.said[1][-1].kind == "CallCancelled"
    assert ride.text(2) == "neighbour"
    assert "".join(e.text for e in ride.said[2] if hasattr(e, "text")) == "neighbour"


def test_F12_a_failed_step_fails_its_calls_and_the_context_is_clean_after() -> None:
    ride = Ride(CostedEngine(raise_after=3))
    ride.join(1, _raw("one"))
    ride.join(2, _raw("two"))
    ride.run()
    for job_id in (1, 2):
        last = ride.said[job_id][-1]
        assert isinstance(last, Failed)
        assert last.kind == "EngineError"
    ride.join(3, _raw("three"))
    ride.run()
    assert ride.text(3) == "three"


def test_embed_calls_take_turns_with_generation() -> None:
    ride = Ride(CostedEngine(tokens=40))
    ride.join(1, _raw("stream"))
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


@pytest.mark.parametrize("closing", [False, True])
def test_closing_ends_every_call_once(closing: bool) -> None:
    ride = Ride(CostedEngine(tokens=1000))
    ride.join(1, _raw("one"))
    ride.step(2)
    ride.join(2, _raw("two"))  # still in the inbox
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
        ride.join(n, _raw("z" * (n + 1)))
    ride.run()
    assert len(ride.engine.steps_rows) == 1 + 16
