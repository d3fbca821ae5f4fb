"""The benchmark's workloads in counts: what a lane computes, exactly, whatever the machine.

A lane is stepped by hand on a fake engine with a virtual clock, so every number is the same on each run. A change
that makes the lane compute more shows here; one that makes it compute less should lower the numbers.
"""

from __future__ import annotations

import random
import string
from collections import deque
from dataclasses import dataclass

from rides import CostedEngine, Ride, raw

CHATS, SLOTS, OUT = 32, 16, 48
# A lane computes few rows at first, to learn what they cost.
LEARNING = 2
SYSTEM, OWN = 150, 95


@dataclass(frozen=True)
class Counts:
    """What a lane did: engine steps, prompt rows computed, prompt tokens copied, tokens generated."""

    steps: int
    prompt: int
    cached: int
    generated: int


def _counts(ride: Ride) -> Counts:
    done = ride.lane.counters
    assert done.cached_tokens == sum(ride.usage(number).cached_tokens for number in ride.said)
    return Counts(done.steps, done.prompt_tokens, done.cached_tokens, done.completion_tokens)


def _text(seed: str, tokens: int) -> str:
    """A text of that many tokens (a token is a byte here)."""
    return "".join(random.Random(seed).choices(string.ascii_letters, k=tokens))


def _texts(count: int, tokens: int, system: str = "") -> list[str]:
    """Texts that begin alike with `system`, and differ from the next byte on."""
    return [system + chr(33 + number % 90) + _text(f"{number}", tokens - 1) for number in range(count)]


def _burst(texts: list[str], out: int, *, slots: int = SLOTS) -> Counts:
    """All texts at once, as many at a time as there are slots; the next one comes when one has ended."""
    ride = Ride(CostedEngine(tokens=out + 1), slots=slots)
    waiting = deque(enumerate(texts))
    while waiting or not all(task.ended for task in ride.tasks.values()):
        while waiting and sum(not task.ended for task in ride.tasks.values()) < slots:
            number, text = waiting.popleft()
            ride.join(number, raw(text, max_tokens=out))
        ride.step()
    return _counts(ride)


def test_w1_a_shared_prefix_is_computed_once() -> None:
    system = _text("system", SYSTEM)
    counts = _burst(_texts(CHATS, OWN, system), OUT)
    assert counts.prompt + counts.cached == CHATS * (SYSTEM + OWN)
    assert counts.cached == (CHATS - 1) * SYSTEM
    assert counts.generated == CHATS * OUT
    assert counts.steps == 123


def test_w2_without_one_every_row_is_computed_once() -> None:
    counts = _burst(_texts(CHATS, SYSTEM + OWN), OUT)
    assert counts == Counts(steps=121, prompt=CHATS * (SYSTEM + OWN), cached=0, generated=CHATS * OUT)


def test_w4_short_calls_fill_every_step() -> None:
    counts = _burst(_texts(200, 8), 8)
    assert counts == Counts(steps=13 * 8, prompt=200 * 8, cached=0, generated=200 * 8)


def test_w5_a_conversation_computes_only_what_is_new() -> None:
    ride = Ride(CostedEngine(tokens=25), slots=8)
    talks = [""] * 8
    for turn in range(6):
        for number in range(8):
            talks[number] += _text(f"turn {turn} of {number}", 60)
            ride.join(10 * turn + number, raw(talks[number], max_tokens=24))
        ride.run()
        for number in range(8):
            talks[number] += ride.text(10 * turn + number)
    counts = _counts(ride)
    # A turn computes its own 60 tokens and the last one of the answer before, which had never been fed.
    assert counts.prompt == 8 * (6 * 60 + 5 * 1)
    assert counts.cached == 8 * sum(84 * turn - 1 for turn in range(1, 6))
    assert counts.generated == 8 * 6 * 24
    assert counts.steps == LEARNING + 6 * 24


def test_w3_a_long_prompt_among_streams_costs_few_steps() -> None:
    """Its prefill takes as many steps as the latency target asks for, and every stream has a token in each."""
    ride = Ride(CostedEngine(tokens=193), slots=9)
    for number in range(8):
        ride.join(number, raw(_text(f"stream {number}", 16), max_tokens=192))
    ride.step(4)
    before, said = ride.lane.counters.steps, ride.lane.counters.completion_tokens
    ride.join(8, raw(_text("long", 3000), max_tokens=1))
    while not ride.tasks[8].ended:
        ride.step()
    assert ride.lane.counters.steps - before == 31
    assert ride.lane.counters.completion_tokens - said == 31 * 8 + 1
    ride.run()
    assert _counts(ride) == Counts(
        steps=LEARNING + 192, prompt=8 * 16 + 3000, cached=0, generated=8 * 192 + 1
    )


def test_w8_waiting_callers_cost_no_step() -> None:
    """Sixty-four calls cost the same steps, however many of them wait beside the sixteen that run."""
    assert _burst(_texts(64, 32), 24) == Counts(
        steps=LEARNING + 4 * 24, prompt=64 * 32, cached=0, generated=64 * 24
    )
