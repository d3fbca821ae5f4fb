"""The targets of two runs side by side: ``python benchmarks/reproduced.py [--docs]``.

The runs are ``results/bench.json`` and ``results/bench-second.json`` (written with ``bench.py --json``). Machine,
model and versions must be the same.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from output import RESULTS, paste, table
from report import asked, met, reached

_SAME = ("machine", "versions", "model")


def load(name: str) -> dict[str, Any]:
    """Read a results file."""
    return dict(json.loads((RESULTS / name).read_text(encoding="utf-8")))


def reproduced(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Return the targets of two runs as a table."""
    for name in _SAME:
        if first[name] != second[name]:
            raise ValueError(f"{name}: the runs differ: {first[name]} and {second[name]}")
    again = {(item["workload"], item["figure"]): item for item in second["targets"]}
    repeats = [f"{run['repeats']} repeat{'s' * (run['repeats'] > 1)}" for run in (first, second)]
    heads = [f"{which} ({count})" for count in repeats for which in ("default pool", "best pool")]
    lines = [["workload", "figure", "target", *heads, "met"]]
    for item in first["targets"]:
        other = again.get((item["workload"], item["figure"]))
        both = [item, other] if other else [item]
        figures = [*reached(item), *(reached(other) if other else ["-", "-"])]
        lines.append([*asked(item), *figures, ", ".join(map(met, both))])
    return table(lines)


def main() -> None:
    """Print the table, and paste it into the docs if asked to."""
    text = reproduced(load("bench.json"), load("bench-second.json"))
    print(text)
    if "--docs" in sys.argv[1:]:
        paste("reproduced", text)


if __name__ == "__main__":
    main()
