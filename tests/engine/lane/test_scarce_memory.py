"""Calls that need more memory together than there is: they wait, none fails, and each has its turn."""

from __future__ import annotations

import pytest
from rides import CostedEngine, Ride, burst, raw, rectangles

pytestmark = pytest.mark.usefixtures("memory")


def test_calls_that_need_more_memory_than_there_is_wait_and_none_fails(memory: int | None) -> None:
    ride = Ride(CostedEngine(tokens=10**6), slots=8, n_ctx=4096, kv_tokens=4096)
    burst(ride, [300] * 8, 400)  # grow beyond 512 tokens together
    # Five of 768 tokens have room, or of 704; blocks are taken one by one, so it is found out later.
    assert ride.lane.counters.preempted == (3 if memory is None else 4)
    assert all(context.n_seq * context.n_ctx <= 4096 for context in rectangles(ride.engine))
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
