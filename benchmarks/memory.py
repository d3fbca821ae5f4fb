"""Memory of four workers, how long they take to start, and how soon a killed one is replaced.

``python benchmarks/memory.py [--quick] [--repeats 3] [--only prefork,process-mmap] [--json PATH]``

Every variant runs in a process of its own, with one slot of 512 tokens per worker, and is measured after each
worker has answered a call. Memory is the PSS of the host and of all its descendants. No other process may map the
model's file meanwhile: its pages would be counted there in part.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from output import options, paste, save, table
from processes import leaves, pss, tree

import poolinfer

HERE = Path(__file__).resolve().parent
TINY_MODEL = HERE.parent / "src" / "poolinfer" / "data" / "tiny.gguf"
WORKERS, N_CTX, PROMPT, MAX_TOKENS = 4, 512, "The capital of France is", 32
VARIANTS = ("prefork", "process-mmap", "process-repack", "thread", "llama")
#: The bound for `prefork`: the size of the model's file times `FILES`, and some bytes for each worker.
FILES, BYTES_PER_WORKER = 1.75, 110e6
TIMEOUT = 120.0
LLAMA_WORKER = """
import sys, llama_cpp
llama = llama_cpp.Llama(sys.argv[1], n_ctx=int(sys.argv[2]), n_threads=1, n_threads_batch=1, verbose=False)
llama.create_completion(sys.argv[3], max_tokens=int(sys.argv[4]), temperature=0.0)
print("ready", flush=True)
sys.stdin.read()
"""


def wait_for(condition: Callable[[], bool]) -> float:
    """Return the seconds until a condition holds."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > TIMEOUT:
            raise TimeoutError(f"not within {TIMEOUT} s")
        time.sleep(0.001)
    return time.perf_counter() - began


def kill_one(pool: poolinfer.Pool) -> dict[str, float]:
    """Kill a worker; returns the milliseconds until its death is known, and until its replacement is ready."""
    crashed = pool.stats().crashed
    os.kill(leaves()[0], signal.SIGKILL)  # a worker has no children; a zygote has
    noticed = wait_for(lambda: pool.stats().crashed > crashed)
    ready = noticed + wait_for(lambda: pool.stats().workers == WORKERS)
    return {"noticed_ms": noticed * 1e3, "replaced_ms": ready * 1e3}


def measure_pool(variant: str, model: str) -> dict[str, float]:
    """Measure a pool of four workers: its start, its memory, and how soon a killed worker is replaced."""
    executor, _, share = variant.partition("-")
    options: dict[str, Any] = {"executor": executor, **({"share": share} if share else {})}
    began = time.perf_counter()
    with poolinfer.Pool(model, workers=WORKERS, slots=1, n_ctx=N_CTX, **options) as pool:
        found = {"start_s": time.perf_counter() - began}
        request = poolinfer.Raw(PROMPT, max_tokens=MAX_TOKENS, temperature=0)
        calls = [pool.submit(request) for _ in range(WORKERS)]
        for call in calls:
            call.result()
        found |= {"memory": pss(tree()), "host": pss([os.getpid()])}
        return found | (kill_one(pool) if executor != "thread" else {})


@contextlib.contextmanager
def llama_process(model: str) -> Iterator[subprocess.Popen[str]]:
    """A process with a plain ``Llama`` that has answered one call."""
    command = [sys.executable, "-c", LLAMA_WORKER, model, str(N_CTX), PROMPT, str(MAX_TOKENS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield child
        child.communicate()


def measure_llama(model: str) -> dict[str, float]:
    """Measure four processes with a plain ``Llama`` each; the process that started them does not count."""
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(llama_process(model)) for _ in range(WORKERS)]
        for child in children:
            if child.stdout is None or child.stdout.readline() != "ready\n":
                raise RuntimeError("a Llama process did not come up")
        return {"start_s": time.perf_counter() - began, "memory": pss([child.pid for child in children])}


def run_variant(variant: str, model: str) -> dict[str, Any]:
    """Measure one variant once, in a process of its own."""
    command = [sys.executable, __file__, "--variant", variant, "--model", model]
    child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10 * TIMEOUT)
    if child.returncode:
        return {"error": (child.stderr.strip().splitlines() or [str(child.returncode)])[-1]}
    return dict(json.loads(child.stdout.splitlines()[-1]))


def middle(runs: list[dict[str, Any]], name: str) -> float | None:
    """Return the median of a figure, or None if no run has it."""
    values = [run[name] for run in runs if name in run]
    return median(values) if values else None


def row(variant: str, runs: list[dict[str, Any]], bound: float) -> list[str]:
    """Return a variant's line of the table."""
    memory = middle(runs, "memory")
    cells = [
        memory and f"{memory / 1e6:.0f}",
        memory and f"{memory / bound:.2f}",
        (start := middle(runs, "start_s")) and f"{start:.2f}",
        (noticed := middle(runs, "noticed_ms")) and f"{noticed:.0f}",
        (replaced := middle(runs, "replaced_ms")) and f"{replaced:.0f}",
    ]
    errors = dict.fromkeys(run["error"] for run in runs if "error" in run)
    return [variant, *(cell or "-" for cell in cells), "; ".join(errors)]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__)
    parser.add_argument("--model", help="a GGUF file (default: random weights in the shape of a 0.6 B model)")
    parser.add_argument("--repeats", type=int, default=3, help="runs to take medians over (default: 3)")
    parser.add_argument("--only", default=",".join(VARIANTS), help="which to run (default: %(default)s)")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def find_model(arguments: argparse.Namespace) -> str:
    """Return the model's path, building the model first if need be."""
    if arguments.model or arguments.quick:
        return str(arguments.model or TINY_MODEL)
    from models import benchmark_model  # a local import, since no other path needs the gguf package

    return str(benchmark_model())


def main() -> int:
    """Measure and print; returns 1 if a variant failed."""
    arguments = parse_arguments()
    model = find_model(arguments)
    if arguments.variant:
        measured = (
            measure_llama(model) if arguments.variant == "llama" else measure_pool(arguments.variant, model)
        )
        print(json.dumps(measured))
        return 0
    variants = arguments.only.split(",")
    runs: dict[str, list[dict[str, Any]]] = {variant: [] for variant in variants}
    for _ in range(1 if arguments.quick else arguments.repeats):
        for variant in variants:
            runs[variant].append(run_variant(variant, model))
            print(variant, runs[variant][-1], flush=True)
    size = Path(model).stat().st_size
    bound = FILES * size + WORKERS * BYTES_PER_WORKER
    print(f"{Path(model).name}: {size / 1e6:.0f} MB; bound for {WORKERS} workers: {bound / 1e6:.0f} MB")
    head = ["executor", "memory MB", "of bound", "start s", "death noticed ms", "replaced ms", "error"]
    text = table([head, *(row(variant, runs[variant], bound) for variant in variants)])
    print(text)
    if arguments.docs:
        paste(
            "memory",
            f"{text}\n\n`of bound` is against {FILES} times the file and 110 MB for each worker.",
        )
    kept = {"model_bytes": size, "bound": bound, "runs": runs}
    save(kept, "memory", quick=arguments.quick, path=arguments.json)
    return int(any("error" in run for found in runs.values() for run in found))


if __name__ == "__main__":
    sys.exit(main())
