"""Where a lane's thread is, as py-spy sees it: ``python benchmarks/sampled.py [--quick] [--json PATH] [--docs]``.

A process answers sixteen prompts at a time while py-spy (dependency group `bench`) reads its stack a thousand times
a second. Of the samples inside a lane's steps, the table says how many were in llama.cpp, how many chose a token,
and how many were in any other Python. py-spy needs the right to trace a child process; without it, as in some
containers, nothing is measured.
"""

from __future__ import annotations

import argparse
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models import benchmark_model
from output import options, publish, table

import poolinfer
from poolinfer._engine.lane.lane import Lane
from poolinfer._engine.llama.growing_context import GrowingContext
from poolinfer._engine.llama.llama_context import LlamaContext
from poolinfer._engine.llama.llama_sampler import LlamaSampler

_CALLS, _TOKENS = 16, 200
_TIMEOUT = 600.0
_FORBIDDEN = re.compile("permission denied|operation not permitted", re.IGNORECASE)
_LINE = re.compile(r"(?P<stack>.*) (?P<count>\d+)")


def ask(model: str, rounds: int) -> None:
    """Answer prompts; this is the process that py-spy watches."""
    prompts = [poolinfer.Raw(f"text {n}", max_tokens=_TOKENS, temperature=0) for n in range(_CALLS)]
    with poolinfer.Pool(model, n_ctx=512) as pool:
        for _ in range(rounds):
            list(pool.map(prompts))


def watch(model: Path, rounds: int) -> Counter[str]:
    """Return for each place in a lane's steps how many samples were there."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "stacks"
        spy = ["py-spy", "record", "--rate", "1000", "--format", "raw", "--output", str(out), "--"]
        asked = [sys.executable, __file__, "--ask", str(model), "--rounds", str(rounds)]
        done = subprocess.run([*spy, *asked], capture_output=True, text=True, timeout=_TIMEOUT)
        if _FORBIDDEN.search(done.stderr):
            raise PermissionError(done.stderr.strip())
        if done.returncode or not out.exists():
            raise RuntimeError(f"py-spy failed: {done.stderr.strip()}")
        places = sort(out.read_text(encoding="utf-8").splitlines())
    if not places:
        raise RuntimeError(f"py-spy saw no step of a lane: {done.stderr.strip()}")
    return places


def sort(lines: list[str]) -> Counter[str]:
    """Count the samples of a lane's steps, given stacks from the outside in, each with its number of samples."""
    source, first = inspect.getsourcelines(LlamaContext.decode)
    decode_line = first + next(n for n, line in enumerate(source) if ".llama_decode(" in line)
    places: Counter[str] = Counter()
    for match in filter(None, map(_LINE.fullmatch, lines)):
        frames = match["stack"].split(";")
        if _is_within(frames, Lane._step):
            places[_place(frames, decode_line)] += int(match["count"])
    return places


def _place(frames: list[str], decode_line: int) -> str:
    """The place of a stack of a lane's step; `decode_line` is the line that calls llama.cpp's decode."""
    if _is_within(frames[-1:], LlamaContext.decode) and frames[-1].endswith(f":{decode_line})"):
        return "engine"
    if _is_within(frames, LlamaSampler.sample):
        return "choice"
    # Making a context, or moving to a larger one, is llama.cpp's work; it happens once for each size.
    return "moving" if _is_within(frames, GrowingContext.fit) else "python"


def _is_within(frames: list[str], function: Callable[..., Any]) -> bool:
    """Whether a function is among the frames; py-spy writes a frame as ``Class.name (path:line)``."""
    file = Path(function.__code__.co_filename)
    end = "/".join(file.parts[file.parts.index("poolinfer") :])
    pattern = re.compile(rf"(.*\.)?{re.escape(function.__name__)} \(.*{re.escape(end)}:\d+\)")
    return any(map(pattern.fullmatch, frames))


def main() -> int:
    """Sample and print."""
    parser = options(__doc__)
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask:
        ask(arguments.ask, arguments.rounds)
        return 0
    models = {"tiny": (Path(poolinfer.demo_model()), 20 if arguments.quick else 100)}
    if not arguments.quick:
        models["0.6 B"] = (benchmark_model(), 2)
    lines = [["model", "samples", "in llama.cpp", "choosing tokens", "larger contexts", "other Python"]]
    found = {}
    for name, (model, rounds) in models.items():
        try:
            places = watch(model, rounds)
        except PermissionError as error:
            print(f"left out, since py-spy may not trace a child process here: {error}")
            return 0
        total = places.total()
        shares = {place: places[place] / total for place in ("engine", "choice", "moving", "python")}
        found[name] = {"samples": total, **shares}
        lines.append([name, str(total), *(f"{share:.1%}" for share in shares.values())])
    publish("sampled", table(lines), found, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
