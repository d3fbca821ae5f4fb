"""Run one engine on one workload in a process of its own: ``python measure.py ENGINE WORKLOAD RESULT``.

A process per measurement keeps peak memory apart and lets a crash fail one row instead of the benchmark.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from baselines import WARM_UP_TOKENS, bare_loop, locked_llama
from workload import Workload


@dataclass(frozen=True)
class Measurement:
    """What one engine did in one round.

    Attributes:
        seconds: from the first call to the last answer, without loading and warming up.
        counts: tokens generated for each chat.
        prompt_counts: prompt tokens of each chat, as the engine counts them.
        peak_rss_mb: most memory that the process had resident, mapped weights included.
    """

    seconds: float
    counts: list[int]
    prompt_counts: list[int]
    peak_rss_mb: float

    @property
    def rate(self) -> float:
        """Return generated tokens per second over the whole run, prompts included in the time."""
        return sum(self.counts) / self.seconds


def pool_layout(engine: str, work: Workload) -> tuple[int, int, int]:
    """Return the workers, slots and threads per worker of one of poolinfer's engines."""
    if engine in ("pool-equal", "pool"):
        return 1, work.slots, work.threads
    return 2, work.slots // 2, max(1, work.threads // 2)


#: Seconds that no step takes: with it a pool fills its batches as the bare loop does.
_UNBOUNDED = 10.0


def label(engine: str, work: Workload) -> str:
    """Return how the report names an engine."""
    if engine == "locked":
        return f"Llama behind a lock ({work.slots} callers)"
    if engine == "bare":
        return f"bare batched loop ({work.slots} sequences)"
    workers, slots, threads = pool_layout(engine, work)
    schedule = ", whole batches" if engine == "pool-equal" else ""
    return f"poolinfer {workers} x {slots} slots, {threads} thread{'s' if threads > 1 else ''} each{schedule}"


def run_locked(work: Workload) -> tuple[float, list[int], list[int]]:
    """Measure the locked ``Llama``."""
    seconds, _, counts = locked_llama(
        Path(work.model),
        work.prompts,
        max_tokens=work.max_tokens,
        callers=work.slots,
        n_threads=work.threads,
        n_ctx=work.n_ctx,
        banned=work.banned,
    )
    return seconds, counts, [len(prompt) for prompt in work.prompts]


def run_bare(work: Workload) -> tuple[float, list[int], list[int]]:
    """Measure the bare batched loop."""
    seconds, _, counts = bare_loop(
        Path(work.model),
        work.prompts,
        max_tokens=work.max_tokens,
        slots=work.slots,
        n_threads=work.threads,
        n_ctx=work.n_ctx,
        banned=work.banned,
    )
    return seconds, counts, [len(prompt) for prompt in work.prompts]


def run_pool(engine: str, work: Workload) -> tuple[float, list[int], list[int]]:
    """Measure a poolinfer pool: every chat is submitted at once, the pool runs as many as it has slots."""
    workers, slots, threads = pool_layout(engine, work)
    options = {"latency_target": _UNBOUNDED} if engine == "pool-equal" else {}
    import poolinfer  # here, so that the baselines run without it

    bias = dict.fromkeys(work.banned, -100.0) or None
    chats = [
        poolinfer.Chat(text, max_tokens=work.max_tokens, temperature=0, logit_bias=bias)
        for text in work.texts
    ]
    warm_up = poolinfer.Chat("warm up", max_tokens=WARM_UP_TOKENS, temperature=0)
    model = poolinfer.Model.load(work.model)
    with (
        model,
        poolinfer.Pool(
            model, workers=workers, slots=slots, threads=threads, n_ctx=work.n_ctx, **options
        ) as pool,
    ):
        for call in [pool.submit(warm_up) for _ in range(workers)]:
            call.result()
        started = time.perf_counter()
        calls = [pool.submit(chat) for chat in chats]
        usages = [call.result().usage for call in calls]
        seconds = time.perf_counter() - started
    return seconds, [used.completion_tokens for used in usages], [used.prompt_tokens for used in usages]


ENGINES: dict[str, Callable[[Workload], tuple[float, list[int], list[int]]]] = {
    "locked": run_locked,
    "bare": run_bare,
    "pool-equal": lambda work: run_pool("pool-equal", work),
    "pool": lambda work: run_pool("pool", work),
    "pool-lanes": lambda work: run_pool("pool-lanes", work),
}


def peak_rss_mb() -> float:
    """Return this process's peak resident memory in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    # Elsewhere (macOS) the unit is a byte.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Measure and write the result."""
    engine, workload, result = sys.argv[1:]
    seconds, counts, prompt_counts = ENGINES[engine](Workload.load(Path(workload)))
    measured = Measurement(seconds, counts, prompt_counts, peak_rss_mb())
    Path(result).write_text(json.dumps(asdict(measured)), encoding="utf-8")


if __name__ == "__main__":
    main()
