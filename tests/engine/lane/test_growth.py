"""Contexts that grow with their calls, and calls that wait for memory: on costed fakes, then on the real engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf_models import WRITERS
from rides import CostedEngine, Ride, raw

from poolinfer import Chat, InvalidRequest, Model, Pool, Raw, demo_model
from poolinfer._data.errors import ModelError
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.engine_protocol import Batch, EngineFault
from poolinfer._engine.llama import library
from poolinfer._executors.registry import ExecutorName
from poolinfer.testing._fake_context import FakeContext

QUESTION = "What is the capital of Peru?"


class ScarceEngine(CostedEngine):
    """There is memory for so many tokens, in all contexts together."""

    memory = 2**40

    def context(self, *, n_seq: int, n_ctx: int, embeddings: bool = False) -> FakeContext:
        taken = sum(context.n_seq * context.n_ctx for context in self.contexts if not context.closed)
        if taken + n_seq * n_ctx > self.memory:
            raise ModelError("no memory")
        return super().context(n_seq=n_seq, n_ctx=n_ctx, embeddings=embeddings)


def shapes(ride: Ride) -> list[tuple[int, int]]:
    return [(context.n_seq, context.n_ctx) for context in ride.engine.contexts]


def burst(ride: Ride, lengths: list[int], tokens: int = 40) -> None:
    """So many calls at once; every answer is its own prompt's."""
    texts = [
        f"{chr(65 + n)}{n}." + chr(97 + n) * (length - len(f"{n}") - 2) for n, length in enumerate(lengths)
    ]
    for n, text in enumerate(texts):
        ride.join(n, raw(text, max_tokens=tokens))
    ride.run()
    for n, text in enumerate(texts):
        assert ride.text(n) == (text * (1 + tokens // len(text)))[:tokens]
        assert ride.usage(n).prompt_tokens == len(text)


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


def test_calls_that_need_more_memory_than_there_is_wait_and_none_fails() -> None:
    ride = Ride(CostedEngine(tokens=10**6), slots=8, n_ctx=4096, kv_tokens=4096)
    burst(ride, [300] * 8, 400)  # grow beyond 512 tokens together
    assert ride.lane.counters.preempted == 3  # five of 768 tokens have room
    assert max(n_seq * n_ctx for n_seq, n_ctx in shapes(ride)) <= 4096
    usage = [ride.usage(n) for n in range(8)]
    assert [found.cached_tokens for found in usage] == [0] * 8
    assert [found.completion_tokens for found in usage] == [400] * 8


def test_a_long_call_has_its_turn_among_short_ones() -> None:
    ride = Ride(CostedEngine(tokens=10**6), slots=8, n_ctx=4096, kv_tokens=4096)
    for n in range(6):
        ride.join(n, raw(f"{n} short", max_tokens=30 + n))
    ride.join(6, raw("long " * 700, max_tokens=5))
    younger = 100
    while not ride.tasks[6].ended:
        assert younger < 1000
        if sum(not task.ended for task in ride.tasks.values()) < 8:
            ride.join(younger, raw(f"{younger} younger", max_tokens=20))
            younger += 1
        ride.step()
    assert ride.text(6) == "long "
    ride.run()
    assert ride.text(100) == "100 younger" + "100 young"


@pytest.mark.parametrize("kv_reuse", [True, False])
def test_what_is_preempted_goes_on_where_it_was(kv_reuse: bool) -> None:
    ride = Ride(CostedEngine(tokens=10**6, kv_reuse=kv_reuse), slots=4, n_ctx=1024, kv_tokens=1024)
    burst(ride, [100, 200, 300, 400], 300)
    assert ride.lane.counters.preempted > 0


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

    monkeypatch.setattr(FakeContext, "adopt", refuse)
    ride = Ride(CostedEngine(tokens=10**6), slots=16)
    ride.join(100, raw("first", max_tokens=60))
    ride.step(20)
    burst(ride, [30] * 8)
    assert ride.text(100) == "first" * 12
    assert (str(error) or "no memory for a copy") in caplog.text


# The real engine.


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize(("old", "new"), [((4, 256), (4, 512)), ((2, 256), (5, 512)), ((5, 256), (2, 256))])
def test_a_context_takes_over_what_another_one_holds(
    flash: bool, old: tuple[int, int], new: tuple[int, int]
) -> None:
    """The next token's logits are the very same, wherever a sequence moves to."""
    lane = LaneSpec(flash_attention=flash)
    engine = library.load(Model.load(demo_model()).spec, lane, lambda: False)
    first = engine.context(n_seq=old[0], n_ctx=old[1])
    second = engine.context(n_seq=new[0], n_ctx=new[1])
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
    with Pool(model, executor=executor, n_ctx=1024, slots=1) as pool:
        alone = [reply.text for reply in pool.map(requests)]
    memory = 3 * 1024 * model.kv_bytes_per_token
    with Pool(model, executor=executor, n_ctx=1024, slots=8, kv_memory=memory) as pool:
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
