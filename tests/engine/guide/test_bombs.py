"""Grammars made to cost much: each is refused, or is cheap after all. None takes a second or 128 MB."""

from __future__ import annotations

import json
import threading
import time

import pytest
from bombs import CHEAP, REFUSED
from guide_bench import GuideBench

from poolinfer._data.errors import EngineError, InvalidGrammar, InvalidRequest
from poolinfer._engine.guide.guide import Guide
from poolinfer.testing import FakeEngine


def peak() -> int:
    """Most bytes of memory that this process has ever held."""
    resource = pytest.importorskip("resource")
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


@pytest.mark.parametrize("name", REFUSED)
def test_bombs_are_refused_by_name(bench: GuideBench, name: str) -> None:
    before, began = peak(), time.thread_time()
    with pytest.raises(InvalidRequest) as caught:
        bench.asked(**REFUSED[name])
    assert time.thread_time() - began < 1.0
    assert peak() - before < 128 * 1024 * 1024
    assert str(caught.value.field).startswith(next(iter(REFUSED[name])))


@pytest.mark.parametrize("name", CHEAP)
def test_what_looks_like_a_bomb_may_be_cheap(bench: GuideBench, name: str) -> None:
    before, began = peak(), time.thread_time()
    guide = bench.asked(**CHEAP[name])
    assert time.thread_time() - began < 1.0
    assert peak() - before < 128 * 1024 * 1024
    assert not guide.complete


def test_F53_a_grammar_that_the_vocabulary_cannot_spell_is_refused() -> None:
    class Letters(FakeEngine):
        """Has no token for the digits."""

        def piece(self, token: int) -> bytes:
            return b"" if ord("0") <= token <= ord("9") else super().piece(token)

    letters = GuideBench(Letters())
    with pytest.raises(InvalidGrammar, match="regex: no answer can be held to it"):
        letters.of("regex", "a[0-9]{3}")
    assert letters.read(letters.of("regex", "a(b|[0-9])"), "ab") == "ab"


def test_a_guide_that_becomes_slow_fails_after_a_few_tokens(
    bench: GuideBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.02
        return now

    guide = bench.of("regex", "a{1000}")
    monkeypatch.setattr(Guide.allows.__globals__["time"], "thread_time", clock)
    assert bench.read(guide, "a" * 100) == "a" * 100
    monkeypatch.setattr(Guide.allows.__globals__["time"], "thread_time", lambda: clock() + now)
    with pytest.raises(EngineError, match=r"regex: .* too long to find out"):
        bench.read(guide, "a" * 100)


def test_other_threads_go_on_while_a_grammar_is_tried(bench: GuideBench) -> None:
    """An event loop in a host would not stand still."""
    longest, stop = 0.0, threading.Event()

    def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not stop.wait(0.001):
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    bench.of("regex", "warm")
    thread = threading.Thread(target=tick)
    thread.start()
    began = time.perf_counter()
    try:
        for n in range(3):
            with pytest.raises(InvalidGrammar):
                bench.of("regex", f"{n}(a{{1000}}){{1000}}")
        took = time.perf_counter() - began
    finally:
        stop.set()
        thread.join()
    assert longest < max(0.05, took / 4)


def test_refusals_and_grammars_are_kept_within_bounds(bench: GuideBench) -> None:
    for n in range(80):
        bench.of("json_schema", json.dumps({"const": n}))
    kept = bench.guides._kept
    assert len(kept) == 64
    for n in range(8):
        bench.of("choices", [f"{n}{i}" * 20 for i in range(10_000)])
    assert sum(map(len, kept)) == bench.guides._characters <= 4 * 1024 * 1024
