"""Throughput of poolinfer against a locked ``Llama`` and a bare batched loop, on the same chats.

``python benchmarks/throughput.py [--quick] [--rounds 3] [--json PATH]``; see README.md for how to read it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from measure import ENGINES, Measurement, label
from report import Outcome, Row, machine, summarise, table, usable_cores, versions
from workload import Workload, make_workload

HERE = Path(__file__).resolve().parent
TINY_MODEL = HERE.parent / "src" / "poolinfer" / "data" / "tiny.gguf"
TIMEOUT = 1800


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny model, few short chats: does it run at all?"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians over (default: 3)")
    parser.add_argument(
        "--threads", type=int, default=usable_cores(), help="CPU threads (default: all cores)"
    )
    parser.add_argument("--engines", default=",".join(ENGINES), help="which to run (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the results (default: benchmarks/results/)")
    arguments = parser.parse_args()
    unknown = set(arguments.engines.split(",")) - set(ENGINES)
    if unknown or arguments.rounds < 1 or arguments.threads < 1:
        parser.error("engines must be among those named, rounds and threads at least 1")
    return arguments


def build_workload(quick: bool, threads: int) -> Workload:
    """Return the chats to answer: 32 on the 0.6 B shape, or 8 short ones on the tiny model."""
    if quick:
        return make_workload(
            TINY_MODEL,
            chats=8, prompt_tokens=60, max_tokens=16, slots=4, threads=threads, n_ctx=256, ban_end=True,
        )  # fmt: skip
    from models import benchmark_model  # here, because --quick needs no gguf package

    return make_workload(
        benchmark_model(), chats=32, prompt_tokens=240, max_tokens=48, slots=16, threads=threads
    )


def failure(code: int, stderr: str) -> str:
    """Return in a few words how a child process failed."""
    if code < 0:
        return f"crashed: {signal.Signals(-code).name}"
    lines = stderr.strip().splitlines()
    return f"failed: {lines[-1][:80] if lines else code}"


def measure(engine: str, workload: Path, result: Path) -> Outcome:
    """Run one engine once, in a process of its own."""
    command = [sys.executable, str(HERE / "measure.py"), engine, str(workload), str(result)]
    result.unlink(missing_ok=True)
    try:
        child = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, errors="replace", timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(engine, None, f"no end in {TIMEOUT} s")
    if child.returncode != 0:
        return Outcome(engine, None, failure(child.returncode, child.stderr))
    return Outcome(engine, Measurement(**json.loads(result.read_text(encoding="utf-8"))))


def run_rounds(work: Workload, engines: list[str], rounds: int) -> list[dict[str, Outcome]]:
    """Run every engine in turn, round after round, so that a slow minute hits all of them alike."""
    outcomes: list[dict[str, Outcome]] = []
    with tempfile.TemporaryDirectory(prefix="poolinfer-benchmark-") as folder:
        workload, result = Path(folder, "workload.json"), Path(folder, "result.json")
        work.save(workload)
        for number in range(1, rounds + 1):
            outcomes.append({})
            for engine in engines:
                outcome = measure(engine, workload, result)
                outcomes[-1][engine] = outcome
                text = f"{outcome.measured.rate:.1f} tokens/s" if outcome.measured else outcome.error
                print(f"round {number}/{rounds}: {label(engine, work)}: {text}", flush=True)
    return outcomes


def describe(work: Workload) -> dict[str, str | int]:
    """Return the workload in figures."""
    return {
        "model": Path(work.model).name,
        "chats": len(work.prompts),
        "prompt_tokens": sum(map(len, work.prompts)),
        "max_tokens": work.max_tokens,
        "at_a_time": work.slots,
        "threads": work.threads,
    }


def digest(outcome: Outcome) -> dict[str, float | str | None]:
    """Return what the results keep of one measurement."""
    if outcome.measured is None:
        return {"error": outcome.error}
    return {
        "seconds": outcome.measured.seconds,
        "generated_tokens": sum(outcome.measured.counts),
        "prompt_tokens": sum(outcome.measured.prompt_counts),
        "peak_rss_mb": outcome.measured.peak_rss_mb,
    }


def write_json(path: Path, work: Workload, rounds: list[dict[str, Outcome]], rows: list[Row]) -> None:
    """Keep the figures of every round and their medians."""
    results = {
        "machine": machine(),
        "versions": versions(),
        "workload": describe(work),
        "summary": [asdict(row) for row in rows],
        "rounds": [{engine: digest(outcome) for engine, outcome in one.items()} for one in rounds],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Run the benchmark; return 1 if any measurement is missing or incomplete."""
    arguments = parse_arguments()
    engines = arguments.engines.split(",")
    work = build_workload(arguments.quick, arguments.threads)
    rounds = run_rounds(work, engines, arguments.rounds)
    rows = [summarise(engine, rounds, work) for engine in engines]
    for facts in (machine(), versions(), describe(work)):
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(table(rows))
    name = "throughput-quick.json" if arguments.quick else "throughput.json"
    path = arguments.json or HERE / "results" / name
    write_json(path, work, rounds, rows)
    print(f"written to {path}")
    return 1 if any(row.problems for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
