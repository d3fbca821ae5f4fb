"""Run one engine on one workload in a process of its own: ``python measure.py ENGINE WORKLOAD RESULT``.

A process per measurement keeps memory and processor time apart, and lets a crash fail one row instead of all.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from drive import DRIVES, Figures, Run, quantile
from engine import Engine, Unavailable
from engine_registry import make_engine
from processes import cpu_seconds, peak_memory, tree
from workloads import Prompt, Workload


def warm_up(engine: Engine, work: Workload) -> None:
    """Let the engine work a little on what has nothing to do with the workload."""
    if work.kind == "embed":
        engine.embed(["warm up"])
        return
    prompt = Prompt(
        "warm up", work.prompts[-1].tokens[-4:] if work.prompts and work.prompts[-1].tokens else None
    )
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: engine.generate(prompt, 2, lambda: None), range(2)))


def problems(run: Run, work: Workload) -> list[str]:
    """Return what is wrong with a run: nothing, when every answer is whole."""
    found = list(run.problems)
    whole = sum(call.answer.completion_tokens == work.max_tokens for call in run.calls)
    if whole != len(run.calls):
        found.append(f"only {whole} of {len(run.calls)} answers have {work.max_tokens} tokens")
    for call in run.calls:
        said, known = call.answer.prompt_tokens, call.prompt.tokens
        if said is not None and known is not None and said != len(known):
            found.append(f"a prompt of {len(known)} tokens counts as {said}")
            break
    return found


def figures(run: Run) -> Figures:
    """Return the figures of a run."""
    if not run.calls:
        return {"seconds": run.seconds, **run.extra}
    tokens = sum(call.answer.completion_tokens for call in run.calls)
    gaps = [gap for call in run.calls for _, gap in call.gaps] or [0.0]
    ttfts = [call.ttft for call in run.calls]
    latencies = [call.ended - call.began for call in run.calls]
    cached = [call.answer.cached_tokens for call in run.calls]
    return {
        "seconds": run.seconds,
        "tokens": tokens,
        "tokens_per_second": tokens / run.seconds,
        "calls_per_second": len(run.calls) / run.seconds,
        "ttft_p50": quantile(ttfts, 0.5),
        "ttft_p95": quantile(ttfts, 0.95),
        "itl_p50": quantile(gaps, 0.5),
        "itl_p99": quantile(gaps, 0.99),
        "latency_p50": quantile(latencies, 0.5),
        "latency_p95": quantile(latencies, 0.95),
        "cached_tokens": sum(count or 0 for count in cached),
        **run.extra,
    }


def measure(name: str, work: Workload) -> dict[str, Any]:
    """Measure an engine on a workload."""
    began = time.perf_counter()
    engine = make_engine(name, work)
    engine.start()
    started = time.perf_counter() - began
    try:
        warm_up(engine, work)
        before = cpu_seconds(tree())
        run = DRIVES[work.kind](engine, work)
        used = cpu_seconds(tree()) - before
        found = figures(run) | {"start_s": started, "peak_mb": peak_memory(tree()) / 1e6, "cpu_s": used}
        if found.get("tokens"):
            found["cpu_per_1000"] = used / found["tokens"] * 1000
        return {"figures": found, "problems": problems(run, work), "settings": engine.settings}
    finally:
        engine.close()


def main() -> None:
    """Measure and write the result."""
    name, workload, result = sys.argv[1:]
    try:
        found = measure(name, Workload.load(Path(workload)))
    except Unavailable as why:
        found = {"skipped": str(why)}
    Path(result).write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
