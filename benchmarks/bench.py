"""poolinfer and its peers on eight workloads: ``python benchmarks/bench.py [--quick] [--only W1,W3]``.

Each measurement runs in a process of its own. Within a repeat the engines take turns; each repeat begins with
another engine. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine import Unavailable
from engine_registry import is_known
from machine import machine_facts, usable_cores, versions
from output import ASSETS, RESULTS, paste, save
from report import Outcome, as_json, targets, targets_table, workload_table
from workloads import QUICK, WORKLOADS, Scale, Workload, make_workloads

HERE = Path(__file__).resolve().parent
TIMEOUT, QUICK_TIMEOUT = 3600, 120
QUICK_ENGINES = {"locked", "bare", "thread", "process", "prefork"}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model and few engines: does it all run?")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads (default: %(default)s)")
    parser.add_argument("--engines", "--peers", help="engines to run instead of each workload's own, such as"
                        " locked,bundled,thread,process,thread-2x8x1")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=3, help="repeats to take medians over (default: 3)")
    parser.add_argument(
        "--threads", type=int, default=usable_cores(), help="CPU threads (default: all cores)"
    )
    parser.add_argument(
        "--model", type=Path, help="a GGUF file instead of the 0.6 B-shaped one; its end tokens are forbidden"
    )
    parser.add_argument("--json", type=Path, help="where to write the results (default: benchmarks/results/)")
    parser.add_argument(
        "--docs", action="store_true", help="draw charts and paste the tables into docs/performance.md"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.only.split(",")) - set(WORKLOADS)
    unknown |= {name for name in (arguments.engines or "thread").split(",") if not is_known(name)}
    if unknown or arguments.repeats < 1 or arguments.threads < 1:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; repeats and threads must be at least 1")
    if arguments.quick:
        arguments.repeats = arguments.threads = 1
    return arguments


def make(arguments: argparse.Namespace) -> list[Workload]:
    """Return the workloads to run, building the model first if need be."""
    from models import Shape, benchmark_model

    tiny = Shape(vocab=2048, width=256, layers=2, heads=4, kv_heads=2, head_width=64, hidden=512)
    model = arguments.model or benchmark_model(tiny if arguments.quick else None)
    return make_workloads(
        model,
        QUICK if arguments.quick else Scale(),
        arguments.threads,
        set(arguments.only.split(",")),
        ban_end=arguments.model is not None,
    )


def engines_of(work: Workload, arguments: argparse.Namespace) -> list[str]:
    """Return the engines to run on a workload."""
    if arguments.engines:
        return [name for name in arguments.engines.split(",") if name not in _cannot(work)]
    return [name for name in work.engines if not arguments.quick or name in QUICK_ENGINES]


def _cannot(work: Workload) -> set[str]:
    """Return the engines that cannot run a workload: no text, no vectors, or too few streams."""
    cannot = {"conversation": {"fresh", "bare"}, "embed": {"fresh", "bare"}, "long": {"fresh", "locked"}}
    return cannot.get(work.kind, set())


def failure(code: int, stderr: str) -> str:
    """Return, in a few words, how a child process failed."""
    if code < 0:
        return f"crashed: {signal.Signals(-code).name}"
    lines = stderr.strip().splitlines()
    return f"failed: {lines[-1][:120] if lines else code}"


def measure(engine: str, workload: Path, result: Path, timeout: float) -> dict[str, Any]:
    """Measure one engine once, in a process of its own."""
    command = [sys.executable, str(HERE / "measure.py"), engine, str(workload), str(result)]
    result.unlink(missing_ok=True)
    # A session of its own, so that nothing that an engine started outlives a measurement that hangs.
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    ) as child:
        try:
            _, stderr = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"problems": [f"no end in {timeout:.0f} s"]}
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    if child.returncode:
        return {"problems": [failure(child.returncode, stderr)]}
    return dict(json.loads(result.read_text(encoding="utf-8")))


def run_workload(work: Workload, engines: list[str], repeats: int, timeout: float) -> Outcome:
    """Run all engines in turn, once per repeat; each repeat begins with another engine."""
    outcome = Outcome(work)
    with tempfile.TemporaryDirectory(prefix="poolinfer-benchmark-") as folder:
        workload, result = Path(folder, "workload.json"), Path(folder, "result.json")
        work.save(workload)
        for number in range(repeats):
            turn = number * max(1, len(engines) // repeats)
            found = {}
            for engine in engines[turn:] + engines[:turn]:
                found[engine] = measure(engine, workload, result, timeout)
                value = found[engine].get("figures", {}).get(work.headline)
                said = found[engine].get("skipped") or "; ".join(found[engine].get("problems", []))
                shown = "-" if value is None else f"{value:.2f} {work.headline}"
                print(f"{work.name} {number + 1}/{repeats} {engine}: {shown} {said}", flush=True)
            outcome.rounds.append({engine: found[engine] for engine in engines})
    return outcome


def fetch_peer(engines: set[str]) -> None:
    """Download the bundled server's file if that server is to run; prints why if that fails."""
    if "bundled" in engines:
        from engines import bundled_server

        try:
            bundled_server.fetch()
        except Unavailable as why:
            print(f"bundled: {why}")


def write_docs(outcomes: dict[str, Outcome], facts: dict[str, Any]) -> None:
    """Draw the charts and paste the tables."""
    from charts import draw

    versions_line = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    machine_line = ", ".join(f"{name} {value}" for name, value in facts["machine"].items())
    paste(
        "machine",
        f"* Measured on: {machine_line}.\n* Versions: {versions_line}.\n"
        f"* Model: {facts['model']}.\n* Repeats: {facts['repeats']}.",
    )
    for name, outcome in outcomes.items():
        draw(outcome, ASSETS, f"{machine_line}\n{versions_line}")
        image = f"![{name}: {outcome.work.title}](assets/{name}.png)"
        paste(name, f"{image}\n\n{workload_table(outcome)}")
    if facts["targets"]:
        paste("targets", targets_table(facts["targets"]))


def keep(
    outcomes: dict[str, Outcome], facts: dict[str, Any], *, quick: bool, path: Path | None
) -> dict[str, Any]:
    """Write the results so far; results of other workloads stay if an earlier run had the same facts."""
    target = path or RESULTS / f"bench{'-quick' if quick else ''}.json"
    before = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    if any(before.get(name) != value for name, value in facts.items()):
        before = {}
    judged = [item for item in before.get("targets", []) if item["workload"] not in outcomes]
    judged += [] if quick else targets(outcomes)
    workloads = before.get("workloads", {}) | {name: as_json(outcome) for name, outcome in outcomes.items()}
    results = {**facts, "targets": judged, "workloads": workloads}
    results["targets"].sort(key=lambda item: item["workload"])
    save(results, "bench", quick=quick, path=path)
    return results


def main() -> int:
    """Run the benchmark; return 1 if a measurement failed or an answer was not whole."""
    arguments = parse_arguments()
    works = make(arguments)
    plan = {work.name: engines_of(work, arguments) for work in works}
    if not arguments.quick:
        fetch_peer({name for engines in plan.values() for name in engines})
    facts: dict[str, Any] = {
        "machine": machine_facts(),
        "versions": versions(),
        "model": Path(works[0].model).name,
    }
    facts["repeats"] = arguments.repeats
    outcomes: dict[str, Outcome] = {}
    for work in works:
        timeout = QUICK_TIMEOUT if arguments.quick else TIMEOUT
        outcomes[work.name] = run_workload(work, plan[work.name], arguments.repeats, timeout)
        print(f"\n{work.name}: {work.title}\n\n{workload_table(outcomes[work.name])}\n", flush=True)
        results = keep(outcomes, facts, quick=arguments.quick, path=arguments.json)
    for name, value in facts.items():
        print(f"{name}: {value}")
    if not arguments.quick:
        print(f"\n{targets_table(results['targets'])}\n")
    if arguments.docs:
        write_docs(outcomes, results)
    return int(
        any(
            one.get("problems")
            for found in outcomes.values()
            for repeat in found.rounds
            for one in repeat.values()
        )
    )


if __name__ == "__main__":
    sys.exit(main())
