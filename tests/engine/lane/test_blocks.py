"""Paged KV under a lane: blocks are shared, copied before a write, given back, and enough for all that run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rides import CostedEngine, Ride, raw
from shared_prompts import SYSTEM, N, ask

from poolinfer._data.specs import LaneSpec
from poolinfer._engine.engine_protocol import Batch, EngineFault, Need
from poolinfer.testing import FakeEngine
from poolinfer.testing._fake_blocks import FakeBlocks

SIZE = 32


@pytest.fixture(autouse=True)
def paged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CostedEngine, "paged_by", SIZE)


def blocks(ride: Ride) -> FakeBlocks:
    context = ride.context
    assert isinstance(context, FakeBlocks)
    return context


def context(slots: int = 2, kv_tokens: int | None = None) -> FakeBlocks:
    return FakeBlocks(FakeEngine(), LaneSpec(slots=slots, n_ctx=256, kv_tokens=kv_tokens), SIZE)


def compute(context: FakeBlocks, sequence: int, tokens: list[int]) -> None:
    batch = Batch()
    batch.add(sequence, len(context.held(sequence)), tokens, last=True)
    context.decode(batch)


def test_a_block_is_taken_when_a_token_goes_into_it_and_given_back_at_the_end() -> None:
    held = context()
    for n, used in ((1, 1), (31, 1), (1, 2), (32, 3)):
        compute(held, 0, list(range(n)))
        assert held.used == used
    held.cut(0, 32)
    assert held.used == 1
    held.clear(0)
    assert held.used == 0


def test_sharing_takes_no_block_and_writing_copies_one() -> None:
    held = context()
    compute(held, 0, list(range(80)))
    held.share(0, 1, 70)
    assert held.used == 3
    compute(held, 1, [200])
    assert held.used == 4
    compute(held, 0, [100])
    assert held.used == 4  # the other one has its own by now
    assert held.held(0) == [*range(80), 100]
    assert held.held(1) == [*range(70), 200]
    held.clear(0)
    assert held.used == 3
    assert held.held(1) == [*range(70), 200]


def test_a_resident_that_is_cut_does_not_write_into_what_another_shares() -> None:
    held = context()
    compute(held, 0, list(range(64)))
    held.share(0, 1, 64)
    held.cut(0, 40)
    compute(held, 0, [7])
    assert held.held(1) == list(range(64))
    assert held.held(0) == [*range(40), 7]


def test_what_is_shared_is_counted_once() -> None:
    held = context(slots=4, kv_tokens=8 * SIZE)
    compute(held, 0, list(range(5 * SIZE)))
    first = Need(6 * SIZE, 0)
    assert held.can_hold([first, Need(2 * SIZE)])
    assert not held.can_hold([first, Need(3 * SIZE)])
    assert held.can_hold([first, Need(7 * SIZE, source=0, shared=5 * SIZE)])
    assert not held.can_hold([first, Need(7 * SIZE, source=0, shared=5 * SIZE - 1)])
    assert held.can_hold([Need(1000)])  # alone, every call may try


def test_a_decode_without_a_free_block_is_a_fault() -> None:
    held = context(kv_tokens=256)
    compute(held, 0, list(range(256)))
    with pytest.raises(EngineFault, match="all 8 blocks are taken"):
        compute(held, 1, [1])


def test_many_calls_run_together_where_their_prefix_is_shared() -> None:
    """Each alone takes 18 blocks, all together 15 and 4 for each."""
    ride = Ride(CostedEngine(tokens=20), slots=8, kv_tokens=4096)
    ride.ask(0, raw(SYSTEM))
    before, most = ride.lane.counters.steps, 0
    for n in range(1, 9):
        ride.join(n, raw(ask(n)))
    while not all(task.ended for task in ride.tasks.values()):
        ride.step()
        most = max(most, blocks(ride).used)
    assert ride.lane.counters.preempted == 0
    assert [ride.usage(n).cached_tokens for n in range(1, 9)] == [N] * 8
    assert most <= 15 + 8 * 4
    assert ride.lane.counters.steps - before < 25


def test_residents_go_before_anybody_is_preempted_and_the_oldest_first() -> None:
    ride = Ride(CostedEngine(tokens=10), slots=2, kv_tokens=4096)
    for n, letter in enumerate("abc"):
        ride.ask(n, raw(letter * 1000))
    ride.ask(3, raw("d" * 2000))
    assert ride.lane.counters.preempted == 0
    ride.ask(4, raw("c" * 1001, max_tokens=1))
    assert ride.usage(4).cached_tokens == 1000
    ride.ask(5, raw("a" * 1001, max_tokens=1))
    assert ride.usage(5).cached_tokens == 0


def test_a_prefix_that_is_to_be_shared_goes_last() -> None:
    """A conversation goes on, though its own resident is the oldest of all and memory is short."""
    ride = Ride(CostedEngine(tokens=10), slots=2, kv_tokens=4096)
    talk = "talk " * 200
    answer = ride.ask(0, raw(talk))
    for n, letter in enumerate("bc", 1):
        ride.ask(n, raw(letter * 1200))
    ride.ask(3, raw(talk + answer + "more " * 200, max_tokens=1))
    assert ride.usage(3).cached_tokens == len(talk) + 10


def test_a_call_whose_prefix_made_way_waits_until_it_is_counted_anew() -> None:
    """Nothing is reserved for tokens that were to be shared: without them, it may not take part at once."""
    ride = Ride(CostedEngine(tokens=4), slots=2, kv_tokens=4096)
    ride.ask(0, raw("x" * 2000, max_tokens=1))
    find, lost = ride.lane._generator._sequences, []  # type: ignore[union-attr]
    assert find is not None
    place = find.place

    def forget(slots: list, room: int) -> tuple[int, int]:  # type: ignore[type-arg]
        if not lost:
            lost.append(True)
            find._prefixes.clear()
            find.context.clear(-1)
        return place(slots, room)

    find.place = forget  # type: ignore[method-assign,assignment]
    ride.join(1, raw("x" * 2000 + "y"))
    ride.step()
    assert ride.lane.counters.prompt_tokens == 2000
    ride.run()
    assert ride.text(1) == "xxxx"
    assert ride.usage(1).cached_tokens == 0


@st.composite
def crowds(draw: st.DrawFn) -> Iterator[tuple[str, int]]:
    """Prompts that share beginnings, and how many tokens of an answer each wants."""
    start = st.sampled_from(["", "a" * 100, "a" * 100 + "b" * 90, "c" * 200])
    return draw(  # type: ignore[no-any-return]
        st.lists(st.tuples(start, st.integers(1, 300), st.integers(1, 200)), min_size=2, max_size=14)
    )


@settings(max_examples=30, deadline=None)
@given(crowds(), st.integers(512, 2048), st.randoms(use_true_random=False))
def test_whoever_is_let_in_has_blocks(crowd, kv_tokens: int, chance) -> None:  # type: ignore[no-untyped-def]
    """In whatever memory, whoever comes or is cancelled: every answer is its own prompt's, and no block is lost."""
    ride = Ride(CostedEngine(tokens=10**6), slots=5, n_ctx=512, kv_tokens=kv_tokens)
    texts = [start + chr(65 + n) * length for n, (start, length, _) in enumerate(crowd)]
    waiting = list(range(len(crowd)))
    while waiting or not all(task.ended for task in ride.tasks.values()):
        if waiting and sum(not task.ended for task in ride.tasks.values()) < 5:
            n = waiting.pop(0)
            ride.join(n, raw(texts[n], max_tokens=min(crowd[n][2], 512 - len(texts[n]))))
            if chance.random() < 0.1:
                ride.cancel(n)
        ride.step()
    for n, text in enumerate(texts):
        if ride.said[n] and not ride.tasks[n].cancelled:
            answer = ride.text(n)
            assert answer == (text * (1 + len(answer) // len(text)))[: len(answer)]
    ride.lane.discard()
    assert blocks(ride).used == 0
