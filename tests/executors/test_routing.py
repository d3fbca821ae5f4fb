"""Calls go where their beginnings are known, as long as the load allows it."""

from __future__ import annotations

import pytest

from poolinfer import Chat, Embed, Prompt, Raw
from poolinfer._checks.normalize import normalize
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.routing import SeenPrefixes, choose, prefix_hashes
from poolinfer._executors.thread import ThreadExecutor
from poolinfer.testing import FakeEngine
from poolinfer.testing._crash import crash_program
from poolinfer.testing._executor_under_test import ExecutorUnderTest

SYSTEM = "You are a helpful assistant of few words. " * 20


class Lane:
    def __init__(self, load: int = 0, *seen: str) -> None:
        self.load = load
        self.trail = SeenPrefixes()
        for text in seen:
            self.trail.add(of(text))


def of(text: str, **options) -> tuple[int, ...]:
    return prefix_hashes(normalize(Raw(text, **options)))


def test_equal_beginnings_are_equal_paths():
    one, other = of("a" * 600 + "b" * 600), of("a" * 600 + "c" * 600)
    assert len(one) == len(other) == 16
    assert one[:9] == other[:9]
    assert not set(one[9:]) & set(other[9:])


def test_what_is_alike_after_a_difference_is_not_alike():
    assert not set(of("x" + "a" * 2000)) & set(of("y" + "a" * 2000))


def test_keys_keep_tenants_apart():
    assert not set(of(SYSTEM, cache_key="one")) & set(of(SYSTEM, cache_key="two"))


def test_a_chat_that_goes_on_goes_along():
    first = Prompt.system(SYSTEM).user("hello " * 100)
    later = first.assistant("hi " * 100).user("and more " * 100)
    one, other = prefix_hashes(normalize(Chat(first))), prefix_hashes(normalize(Chat(later)))
    assert len(one) > 4
    assert other[: len(one)] == one


def test_a_chat_of_a_few_words_goes_along_too():
    first = Prompt.user("What is the capital of the country of which we spoke on Monday?")
    later = first.assistant("Lima.").user("And of the other one?")
    one, other = prefix_hashes(normalize(Chat(first))), prefix_hashes(normalize(Chat(later)))
    assert one
    assert other[: len(one)] == one


def test_huge_prompts_are_cheap():
    assert len(of("a" * 4_000_000)) == 15 + 61
    assert prefix_hashes(normalize(Embed("a" * 10_000))) == ()


def test_the_lane_that_knows_most_is_chosen():
    knows, less, nothing = Lane(2, SYSTEM), Lane(0, SYSTEM[:300]), Lane(0)
    assert choose([nothing, less, knows], of(SYSTEM), slots=8) is knows
    assert choose([nothing, less, knows], of("other " * 100), slots=8) is nothing


def test_but_not_if_it_has_much_more_to_do():
    assert choose([Lane(3, SYSTEM), idle := Lane()], of(SYSTEM), slots=8) is idle
    assert choose([Lane(1, SYSTEM), idle := Lane()], of(SYSTEM), slots=2) is idle
    assert choose([], of(SYSTEM), slots=8) is None


def test_a_trail_forgets_what_is_old():
    trail = SeenPrefixes()
    trail.add(of("old" * 100))
    for n in range(2000):
        trail.add(of(f"{n} " * 300))
    assert trail.match(of("old" * 100)) == 0
    assert trail.match(of("1999 " * 300)) > 0


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_calls_of_one_beginning_meet_in_one_lane(executor):
    lane = LaneSpec(slots=8, n_ctx=4096)
    if executor == "thread":
        made = FakeEngine(step_delay=0.01).executor(workers=2, slots=8, n_ctx=4096)
    else:
        program = crash_program(step_delay=0.01)
        made = ProcessExecutor(ModelSpec("", (0, 0, 0, 0)), lane, workers=2, program=program)
    bench = ExecutorUnderTest(made, 20)
    try:
        # The first call holds a lane, so that the next goes to the other one, and the third back to the first.
        bench.submit(Raw("a" * 2000))
        for text in ("b", "a", "b", "a"):
            bench.submit(Raw(text * 600, max_tokens=2))[1].wait(20)
        lanes = made._seats if isinstance(made, ThreadExecutor) else list(made._seats.values())
        assert len(lanes) == 2
        for text in "ab":
            assert sum(lane.trail.match(of(text * 600)) == 9 for lane in lanes) == 1
        assert all(lane.trail.match(of("a" * 600)) + lane.trail.match(of("b" * 600)) == 9 for lane in lanes)
    finally:
        made.close(0)
