"""Rectangles of sequences that grow with a lane's calls: on costed fakes, then on the real engine."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from gguf_models import WRITERS
from rides import CostedEngine, Ride, burst, raw, rectangles
from shared_prompts import SYSTEM, N, ask

from poolinfer import Chat, InvalidRequest, Model, Pool, Raw, demo_model
from poolinfer._data.errors import ModelError
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.engine_protocol import Batch, EngineFault
from poolinfer._engine.llama import library
from poolinfer._executors.registry import ExecutorName
from poolinfer.testing._fake_context import FakeRectangle

QUESTION = "What is the capital of Peru?"


class ScarceEngine(CostedEngine):
    """A fake engine that has memory for a number of tokens, over all its contexts."""

    memory = 2**40

    def rectangle(self, n_seq: int, n_ctx: int) -> FakeRectangle:
        taken = sum(one.n_seq * one.n_ctx for one in rectangles(self) if not one.closed)
        if taken + n_seq * n_ctx > self.memory:
            raise ModelError("no memory")
        return super().rectangle(n_seq, n_ctx)


def shapes(ride: Ride) -> list[tuple[int, int]]:
    return [(one.n_seq, one.n_ctx) for one in rectangles(ride.engine)]


def test_a_context_grows_with_its_calls_and_nothing_is_computed_twice() -> None:
    ride = Ride(CostedEngine(tokens=10**6), slots=16)
    ride.join(100, raw("first", max_tokens=700))
    ride.step(20)
    burst(ride, [30] * 8, 100)
    assert shapes(ride) == [(4, 512), (16, 512), (16, 768)]
    assert [context.closed for context in ride.engine.contexts] == [True, True, False]
    assert ride.text(100) == "first" * 140
    assert ride.lane.counters.prompt_tokens == 5 + 8 * 30
    assert ride.lane.counters.preempted == 0


def test_residents_move_along() -> None:
    ride = Ride(CostedEngine(tokens=40), slots=16)
    system = "Be brief. " * 30
    ride.ask(0, raw(system))
    burst(ride, [600] * 6)
    assert shapes(ride)[-1] == (8, 768)
    ride.ask(50, raw(system + "And now?"))
    assert ride.usage(50).cached_tokens == len(system)


def test_without_memory_for_two_contexts_the_old_one_goes_first() -> None:
    engine = ScarceEngine(tokens=10**6)
    engine.memory = 16 * 512 + 1024
    ride = Ride(engine, slots=16)
    ride.join(100, raw("first", max_tokens=50))
    ride.step(10)
    burst(ride, [30] * 9)
    assert shapes(ride) == [(4, 512), (16, 512)]
    assert ride.text(100) == "first" * 10


def test_without_memory_fewer_run_at_a_time_and_all_end_well() -> None:
    engine = ScarceEngine(tokens=10**6)
    engine.memory = 6 * 512
    ride = Ride(engine, slots=16)
    burst(ride, [30] * 16)
    burst(ride, [600] * 3)
    assert all(n_seq * n_ctx <= engine.memory for n_seq, n_ctx in shapes(ride))


def test_a_call_that_no_memory_suffices_for_fails_alone() -> None:
    engine = ScarceEngine(tokens=10**6)
    engine.memory = 4 * 512
    ride = Ride(engine, slots=4, n_ctx=4096)
    ride.join(0, raw("x" * 3000, max_tokens=5))
    ride.join(1, raw("short", max_tokens=5))
    ride.run()
    failed = ride.said[0][-1]
    assert getattr(failed, "kind", "") == "EngineError", failed
    assert ride.text(1) == "short"


@pytest.mark.parametrize("error", [EngineFault("cannot"), MemoryError()])
def test_a_sequence_that_cannot_move_is_computed_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(FakeRectangle, "adopt", refuse)
    ride = Ride(CostedEngine(tokens=10**6), slots=16)
    ride.join(100, raw("first", max_tokens=60))
    ride.step(20)
    burst(ride, [30] * 8)
    assert ride.text(100) == "first" * 12
    assert (str(error) or "no memory for a copy") in caplog.text


def test_prompts_of_one_step_are_answered_one_after_the_other() -> None:
    """None waits for the others' rows, and each is told at once."""
    ride = Ride(CostedEngine(tokens=4), slots=8)
    ride.ask(9, raw("z" * 60))
    told: list[int] = []
    began = len(ride.engine.steps_rows)
    ride.lane._generator._flush = lambda: told.append(len(ride.engine.steps_rows) - began)
    for n, length in enumerate((300, 100, 20, 60)):
        ride.join(n, raw(f"{n}" * length))
    ride.step()
    assert told == [1, 2]  # after the short ones together, and after the next
    ride.run()
    prefill = [ride.response(n).timings.prefill for n in range(4)]
    assert prefill == pytest.approx([0.96, 0.36, 0.16, 0.16])


def test_copying_keeps_steps_under_the_target_beside_a_stream() -> None:
    ride = Ride(CostedEngine(tokens=400), slots=16, n_ctx=1024)
    ride.ask(0, raw(SYSTEM))
    ride.join(1, raw("stream"))
    ride.step(5)
    for n in range(2, 16):
        before = ride.lane.counters.cached_tokens
        ride.join(n, raw(ask(n), max_tokens=60))
        while ride.lane.counters.cached_tokens == before:
            now = ride.engine.now
            ride.step()
            assert ride.engine.now - now <= 0.25 + 1e-6
    ride.run()
    assert all(ride.usage(n).cached_tokens == N for n in range(2, 16))


@pytest.mark.parametrize("stream", [False, True])
def test_copies_that_cost_more_than_a_step_has_room_for_are_made_one_by_one(stream: bool) -> None:
    ride = Ride(CostedEngine(tokens=50), slots=6, n_ctx=2**20)
    system = SYSTEM * 20
    ride.ask(9, raw("x" * 70_000, max_tokens=1))  # the context grows, and a copy takes as long as 768 rows
    ride.ask(0, raw(system))
    if stream:
        ride.join(1, raw("stream"))
        ride.step()
    for n in range(2, 6):
        ride.join(n, raw(ask(n, system), max_tokens=5))
    copied = [len(ride.context.copies)]
    while not all(task.ended for task in ride.tasks.values()):
        ride.step()
        copied.append(len(ride.context.copies))
    assert max(after - before for before, after in itertools.pairwise(copied)) == 1
    assert all(ride.usage(n).cached_tokens >= len(system) for n in range(2, 6))


# The real engine.


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize(("old", "new"), [((4, 256), (4, 512)), ((2, 256), (5, 512)), ((5, 256), (2, 256))])
def test_a_context_takes_over_what_another_one_holds(
    flash: bool, old: tuple[int, int], new: tuple[int, int]
) -> None:
    """The next token's logits are the same, bit by bit, after a sequence has moved to another context."""
    lane = LaneSpec(flash_attention=flash)
    engine = library.load(Model.load(demo_model()).spec, lane, lambda: False)
    first = engine.rectangle(*old)
    second = engine.rectangle(*new)
    texts = {0: "Peter Piper picked a peck of", 1: QUESTION}
    for sequence, text in texts.items():
        batch = Batch()
        tokens = engine.tokenize(text, add_special=True, parse_special=False)
        batch.add(sequence, 0, tokens, last=True)
        first.decode(batch)
    for source, target in ((1, 0), (0, 1)):
        second.adopt(first, source, target)
    for source, target in ((1, 0), (0, 1)):
        n = len(engine.tokenize(texts[source], add_special=True, parse_special=False))
        found = []
        for context, sequence in ((first, source), (second, target)):
            batch = Batch()
            batch.add(sequence, n, [300], last=True)
            context.decode(batch)
            found.append(context.logits(0).copy())
        assert (found[0] == found[1]).all()
    for each in (first, second, engine):
        each.close()


@pytest.mark.filterwarnings("ignore:n_ctx is 1024")
@pytest.mark.parametrize("kind", ["llama", "mamba", "jamba", "gemma2"])
def test_answers_survive_growth(tmp_path: Path, kind: str) -> None:
    """Longer than the first context and more calls than it has room for, on every kind of memory."""
    model = Model.load(WRITERS[kind](tmp_path / f"{kind}.gguf"))
    requests = [Raw(f"prompt {n}", max_tokens=600, temperature=0) for n in range(6)]
    with Pool(model, slots=1, threads=1, n_ctx=1024) as pool:
        alone = [reply.text for reply in pool.map(requests)]
    with Pool(model, slots=6, threads=1, n_ctx=1024) as pool:
        together = [reply.text for reply in pool.map(requests)]
    # Random weights make near-ties likelier than training does; wrong sequences would spoil nearly all.
    assert sum(one == other for one, other in zip(alone, together, strict=True)) >= 4


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_answers_survive_preemption(executor: ExecutorName) -> None:
    """Memory for three calls at a time, and the answers are what they always are."""
    model = Model.load(demo_model())
    engine = library.load(model.spec, LaneSpec(), lambda: False)
    # Without an end, answers outgrow the memory.
    endless = {token: -100.0 for token in range(engine.info.n_vocab) if engine.is_end(token)}
    engine.close()
    requests = [
        Chat(f"What is the capital of {country}?", max_tokens=600, temperature=0, logit_bias=endless)
        for country in ("Peru", "Chile", "France", "Japan", "Kenya", "Norway", "Spain", "Egypt")
    ]
    # One thread for each lane: two would wait for each other at every operation, beside other tests.
    with Pool(model, executor=executor, n_ctx=1024, slots=1, threads=1) as pool:
        alone = [reply.text for reply in pool.map(requests)]
    memory = 3 * 1024 * model.kv_bytes_per_token
    with Pool(model, executor=executor, n_ctx=1024, slots=8, threads=1, kv_memory=memory) as pool:
        calls = [pool.submit(request) for request in requests]
        replies = [call.result() for call in calls]
        preempted = pool.stats().preempted
    assert executor == "process" or preempted >= 2  # a worker tells its counters now and then
    assert [reply.usage.completion_tokens for reply in replies] == [600] * 8
    # What comes after the answers is chatter, where near-ties are likely.
    assert [reply.text[:24] for reply in replies] == [text[:24] for text in alone]
    assert sum(reply.text == text for reply, text in zip(replies, alone, strict=True)) >= 4


def test_kv_memory_must_hold_a_call() -> None:
    with pytest.raises(InvalidRequest, match="kv_memory: one call of n_ctx=1024 tokens takes"):
        Pool(demo_model(), n_ctx=1024, kv_memory=1024)


@pytest.mark.parametrize("flash", [True, False, None])
def test_flash_attention_changes_no_answer(flash: bool | None) -> None:
    with Pool(demo_model(), flash_attention=flash) as pool:
        assert pool.chat(QUESTION, temperature=0).answer == "The capital of Peru is Lima."
    with pytest.raises(InvalidRequest, match="flash_attention"):
        Pool(demo_model(), flash_attention="yes")  # type: ignore[arg-type]
