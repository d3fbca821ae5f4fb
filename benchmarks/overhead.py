"""The cost of a process border: the same calls with the tiny model, on each executor in turn.

``python benchmarks/overhead.py [--quick] [--rounds 9] [--json PATH]``

The tiny model computes so little that other costs show. Measured are calls of one token, one after the other, and
eight streams of 200 tokens, each read by a thread. All pools are open at once and take turns within each round.
Differences and ratios are computed per round; the table shows their medians.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import llama_cpp.llama_cpp as native
from c_api import end_tokens, open_model
from output import options, publish, table

import poolinfer

HERE = Path(__file__).resolve().parent
EXECUTORS = ("thread", "process", "prefork")
STREAMS, STREAM_TOKENS, N_CTX = 8, 200, 256


def open_pools(stack: contextlib.ExitStack, executors: list[str]) -> dict[str, poolinfer.Pool]:
    """Open a pool on each executor; an executor that is refused is left out."""
    pools = {}
    for executor in executors:
        try:
            pool: Any = poolinfer.Pool(poolinfer.demo_model(), executor=executor, slots=STREAMS, n_ctx=N_CTX)  # type: ignore[arg-type]
        except poolinfer.InvalidRequest as refusal:
            print(f"{executor} is left out: {refusal}")
            continue
        pools[executor] = stack.enter_context(pool)
    return pools


def seconds_per_call(pool: poolinfer.Pool, calls: int) -> float:
    """Return the median seconds of a call of one token; calls follow one another."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        pool.raw("The", max_tokens=1, temperature=0)
        taken.append(time.perf_counter() - began)
    return median(taken)


def tokens_per_second(pool: poolinfer.Pool, threads: ThreadPoolExecutor, bias: dict[int, float]) -> float:
    """Return the tokens per second of all streams together."""

    def read(number: int) -> int:
        request = poolinfer.Raw(f"{number} The", max_tokens=STREAM_TOKENS, temperature=0, logit_bias=bias)
        call = pool.stream(request)
        for _ in call:
            pass
        return call.result().usage.completion_tokens

    began = time.perf_counter()
    tokens = sum(threads.map(read, range(STREAMS)))
    seconds = time.perf_counter() - began
    if tokens != STREAMS * STREAM_TOKENS:
        raise RuntimeError(f"{tokens} tokens instead of {STREAMS * STREAM_TOKENS}")
    return tokens / seconds


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds to take medians over (default: 9)")
    parser.add_argument("--calls", type=int, default=200, help="calls per executor and round (default: 200)")
    parser.add_argument("--only", default=",".join(EXECUTORS), help="which to run (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.calls = 1, 20
    return arguments


def main() -> int:
    """Measure and print."""
    arguments = parse_arguments()
    with open_model(Path(poolinfer.demo_model()), vocab_only=True) as model:
        bias = dict.fromkeys(end_tokens(native.llama_model_get_vocab(model)), -100.0)
    rounds: list[dict[str, dict[str, float]]] = []
    with contextlib.ExitStack() as stack:
        pools = open_pools(stack, arguments.only.split(","))
        threads = stack.enter_context(ThreadPoolExecutor(STREAMS))
        for number in range(arguments.rounds + 1):  # the first one warms up
            order = sorted(pools, key=lambda name: (list(pools).index(name) + number) % len(pools))
            rounds.append({})
            for name in order:
                call = seconds_per_call(pools[name], arguments.calls)
                rate = tokens_per_second(pools[name], threads, bias)
                rounds[-1][name] = {"call_ms": call * 1e3, "tokens_per_second": rate}
    publish("overhead", report(rounds[1:], list(pools)), {"rounds": rounds[1:]}, arguments)
    return 0


def report(rounds: list[dict[str, dict[str, float]]], names: list[str]) -> str:
    """Return the medians as a table."""
    lines = [["executor", "call ms", "over thread ms", "8 streams tokens/s", "of thread"]]
    for name in names:
        calls = [one[name]["call_ms"] for one in rounds]
        rates = [one[name]["tokens_per_second"] for one in rounds]
        more = [one[name]["call_ms"] - one[names[0]]["call_ms"] for one in rounds]
        share = [one[name]["tokens_per_second"] / one[names[0]]["tokens_per_second"] for one in rounds]
        lines.append(
            [
                name,
                f"{median(calls):.2f}",
                f"{median(more):+.2f}",
                f"{median(rates):.0f}",
                f"{median(share):.3f}",
            ]
        )
    return table(lines)


if __name__ == "__main__":
    sys.exit(main())
