"""Grammars made to cost much: each is refused, or is cheap after all. None takes a second or 128 MB."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from guide_bench import GuideBench

from poolinfer._data.errors import EngineError, InvalidGrammar
from poolinfer._engine.guide.guide import Guide
from poolinfer.testing import FakeEngine


def powers(joint: str) -> str:
    """A billion laughs: ten levels of ten times the next one."""
    rules = [f"{joint}{i}: {' '.join([f'{joint}{i + 1}'] * 10)}" for i in range(9)]
    return "\n".join([f"start: {joint}0", *rules, f'{joint}9: "ha"'])


def ambiguous(n: int) -> str:
    rules = [f'r{i}: "a" r{i * 7 % n} | "b" start' for i in range(n)]
    return "\n".join(["start: " + " | ".join(f"r{i}" for i in range(n)), *rules])


def nested(levels: int) -> str:
    return '{"type": "array", "items": ' * levels + "{}" + "}" * levels


def crossed(n: int) -> dict[str, Any]:
    def one(name: str) -> dict[str, Any]:
        return {"properties": {name: {"type": "integer"}}, "required": [name]}

    return {"allOf": [{"anyOf": [one(f"{letter}{i}") for i in range(n)]} for letter in "abcdefgh"]}


REFUSED = {
    "F50 sixty thousand groups": ("lark", "start: " + "(" * 60_000 + '"a"' + ")" * 60_000),
    "F50 repetitions of repetitions of texts": ("lark", 'start: T\nT: ((("a"{1000}){1000}){1000}){1000}'),
    "F50 repetitions of repetitions of rules": ("lark", 'start: ((("a"{1000}){1000}){1000}){1000}'),
    "F50 a billion laughs of terminals": ("lark", powers("T")),
    "F50 a billion laughs of rules": ("lark", powers("r")),
    "F50 alternatives without end": ("lark", "start: " + "|".join(["a"] * 8_000) + '\na: "x"'),
    "F50 readings without end": ("lark", ambiguous(250)),
    "F49 a rule that leads to itself only": ("lark", "start: start"),
    "F49 NUL": ("lark", 'start: "\0"'),
    "F51 nested quantifiers": ("regex", "(a{1000}){1000}"),
    "F51 two thousand levels": ("json_schema", nested(2_000)),
    "F51 a reference to itself": ("json_schema", {"$ref": "#"}),
    "F51 a reference to a server": ("json_schema", {"$ref": "http://localhost:1/schema"}),
    "F51 a reference to a file": ("json_schema", {"$ref": "file:///etc/passwd"}),
    "F51 a bad expression": ("json_schema", {"type": "string", "pattern": "(["}),
    "F51 alternatives times alternatives": ("json_schema", crossed(10)),
    "F51 expressions that must all match": (
        "json_schema",
        {"allOf": [{"type": "string", "pattern": f".*{letter}.{{20}}"} for letter in "abcdef"]},
    ),
}
CHEAP = {
    "F51 a text as long as it may be": ("regex", "x" * 65_000),
    "F50 a chain of rules": (
        "lark",
        "start: r0\n" + "\n".join(f'r{i}: "a" r{i + 1} "b" | "c"' for i in range(1_500)) + '\nr1500: "x"',
    ),
    "F50 left recursion": ("lark", 'start: start "a" | "b"'),
    "F51 a hundred million characters": ("json_schema", {"type": "string", "maxLength": 10**8}),
    "F51 a billion items": (
        "json_schema",
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    ),
    "F51 twenty thousand values": ("json_schema", {"enum": [f"value {i}" for i in range(20_000)]}),
    "F51 thirty thousand choices": ("choices", [f"choice number {i}" for i in range(30_000)]),
    "F51 an expression that backtracks for ever elsewhere": ("regex", "(a|a?)+b"),
    "F51 automata with exponents": ("regex", "(a|b)*a(a|b){40}"),
}


def peak() -> int:
    """Most bytes of memory that this process has ever held."""
    resource = pytest.importorskip("resource")
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


@pytest.mark.parametrize("name", REFUSED)
def test_bombs_are_refused_by_name(bench: GuideBench, name: str) -> None:
    kind, text = REFUSED[name]
    before, began = peak(), time.thread_time()
    with pytest.raises(InvalidGrammar) as caught:
        bench.of(kind, text)
    assert time.thread_time() - began < 1.0
    assert peak() - before < 128 * 1024 * 1024
    assert caught.value.field == {"lark": "grammar", "json_schema": "response_format"}.get(kind, kind)


@pytest.mark.parametrize("name", CHEAP)
def test_what_looks_like_a_bomb_may_be_cheap(bench: GuideBench, name: str) -> None:
    kind, text = CHEAP[name]
    before, began = peak(), time.thread_time()
    guide = bench.of(kind, text)
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
        now += 0.04
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
