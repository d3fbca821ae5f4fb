"""The report of a benchmark: medians, ratios, targets, tables, and what goes into the results file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from drive import Figures
from engine_registry import PEERS, is_pool, label
from output import shown, table
from workloads import Workload

#: What poolinfer is to reach: workload, figure, the peer whose figure it is divided by (None: not divided), bound.
#: A rate must be at least the bound, a time at most.
TARGETS: tuple[tuple[str, str, str | None, float], ...] = (
    ("W1", "tokens_per_second", "locked", 2.0),
    ("W1", "tokens_per_second", "fresh", 1.85),
    ("W1", "tokens_per_second", "xllamacpp", 1.55),
    ("W1", "tokens_per_second", "bundled", 1.05),
    ("W2", "tokens_per_second", "locked", 1.4),
    ("W2", "tokens_per_second", "fresh", 1.0),
    ("W2", "tokens_per_second", "xllamacpp", 1.2),
    ("W2", "tokens_per_second", "bundled", 1.25),
    ("W2", "tokens_per_second", "bare", 0.95),
    ("W3", "entering_p99_over_median", None, 5.0),
    ("W3", "long_over_alone", None, 1.5),
    ("W4", "calls_per_second", "fresh", 3.0),
    ("W5", "last_turn_over_cold", None, 0.25),
    ("W7", "latency_p50", "locked", 1.0),
    ("W8", "most_over_next", None, 0.95),
)
#: Columns after the ratios: figure, heading, factor, format.
_COLUMNS = (
    ("ttft_p50", "TTFT p50 ms", 1e3, ".0f"),
    ("ttft_p95", "p95", 1e3, ".0f"),
    ("itl_p50", "between tokens p50 ms", 1e3, ".1f"),
    ("itl_p99", "p99", 1e3, ".0f"),
    ("latency_p50", "latency p50 s", 1, ".2f"),
    ("peak_mb", "peak MB", 1, ".0f"),
    ("cpu_per_1000", "CPU s per 1000 tokens", 1, ".1f"),
)
_MORE = {
    "W3": (
        ("long_over_alone", "long prompt's TTFT / alone", 1, ".2f"),
        ("entering_p99", "p99 while it enters ms", 1e3, ".0f"),
        ("itl_median", "median otherwise ms", 1e3, ".0f"),
    ),
    "W5": (("last_turn_ttft", "last turn TTFT ms", 1e3, ".0f"), ("cold_ttft", "cold ms", 1e3, ".0f")),
    "W8": (("most_over_next", "most callers / next", 1, ".2f"),),
}


@dataclass
class Outcome:
    """All measurements of one workload.

    Attributes:
        work: the workload.
        rounds: for each repeat, what `measure` wrote for each engine: figures, problems and settings, or why the
            engine was skipped.
    """

    work: Workload
    rounds: list[dict[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def engines(self) -> list[str]:
        """All engines that were to run."""
        return list(self.rounds[0])

    @property
    def measured(self) -> list[str]:
        """Engines that ran."""
        return [name for name in self.engines if self.figure(name, "seconds") is not None]

    def figure(self, engine: str, name: str) -> float | None:
        """Return the median of a figure over the repeats, or None."""
        return _median(value for one in self.rounds if (value := _figures(one, engine).get(name)) is not None)

    def ratio(self, engine: str, base: str, name: str) -> float | None:
        """Return the median over the repeats of an engine's figure divided by that of `base` in the same repeat."""
        pairs = [(_figures(one, engine).get(name), _figures(one, base).get(name)) for one in self.rounds]
        return _median(mine / other for mine, other in pairs if mine is not None and other)

    def remarks(self, engine: str) -> str:
        """Return why an engine was left out, or what was wrong with its answers; empty when all is well."""
        said = [text for one in self.rounds for text in _remarks(one.get(engine, {}))]
        return "; ".join(dict.fromkeys(said))


def _figures(one: dict[str, dict[str, Any]], engine: str) -> Figures:
    return dict(one.get(engine, {}).get("figures", {}))


def _remarks(found: dict[str, Any]) -> list[str]:
    why = found.get("skipped")
    return [f"left out: {why}"] if why else [*found.get("problems", [])]


def _median(values: Iterable[float]) -> float | None:
    present = list(values)
    return median(present) if present else None


def workload_table(outcome: Outcome) -> str:
    """Return a workload's table: its headline figure, the ratios to peers, other figures, and remarks if any."""
    work = outcome.work
    bases = [name for name in outcome.measured if name in PEERS]
    others = [column for column in (*_MORE.get(work.name, ()), *_COLUMNS) if column[0] != work.headline]
    columns = [
        column for column in others if any(outcome.figure(name, column[0]) for name in outcome.measured)
    ]
    remarks = any(map(outcome.remarks, outcome.engines))
    headings = [work.headline.replace("_", " "), *(f"/ {base}" for base in bases)]
    headings += [column[1] for column in columns]
    lines = [["engine", *headings, *([""] if remarks else [])]]
    for name in outcome.engines:
        headline = outcome.figure(name, work.headline)
        cells = ["-" if headline is None else shown(headline)]
        ratios = [outcome.ratio(name, base, work.headline) for base in bases]
        cells += ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        for figure, _, factor, spec in columns:
            value = outcome.figure(name, figure)
            cells.append("-" if value is None else format(value * factor, spec))
        said = [outcome.remarks(name)] if remarks else []
        lines.append([name if name in PEERS else label(name), *cells, *said])
    return table(lines)


def targets(outcomes: dict[str, Outcome]) -> list[dict[str, Any]]:
    """Return every target that can be judged, with what the default pool and the best one reached."""
    found = []
    for workload, figure, base, bound in TARGETS:
        if workload not in outcomes or (base and base not in outcomes[workload].measured):
            continue
        reached = _reached(outcomes[workload], figure, base)
        if not reached:
            continue
        lower = figure.endswith(("_p50", "_p99", "_over_median", "_over_alone", "_over_cold"))
        best = (min if lower else max)(reached, key=reached.__getitem__)
        found.append(
            {
                "workload": workload,
                "figure": f"{figure} / {base}" if base else figure,
                "target": f"{'<=' if lower else '>='} {bound}",
                "default": reached.get("thread"),
                "best": reached[best],
                "by": best,
                "met": reached[best] <= bound if lower else reached[best] >= bound,
            }
        )
    return found


def _reached(outcome: Outcome, figure: str, base: str | None) -> dict[str, float]:
    pools = [name for name in outcome.measured if is_pool(name)]
    values = {
        name: outcome.ratio(name, base, figure) if base else outcome.figure(name, figure) for name in pools
    }
    return {name: value for name, value in values.items() if value is not None}


def targets_table(judged: list[dict[str, Any]]) -> str:
    """Return what `targets` found as a table."""
    lines = [["workload", "figure", "target", "default pool", "best pool", "which", "met"]]
    for item in judged:
        lines.append([*asked(item), *reached(item), item["by"], met(item)])
    return table(lines) if len(lines) > 1 else ""


def asked(item: dict[str, Any]) -> list[str]:
    """Return the cells that say what a target is."""
    return [item["workload"], item["figure"].replace("_", " "), item["target"]]


def reached(item: dict[str, Any]) -> list[str]:
    """Return the cells that say what the default pool and the best one reached."""
    return ["-" if item[which] is None else f"{item[which]:.2f}" for which in ("default", "best")]


def met(item: dict[str, Any]) -> str:
    """Return the cell that says whether a target is met."""
    return "yes" if item["met"] else "no"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return what the results file holds of a workload."""
    names = sorted({name for one in outcome.rounds for engine in one for name in _figures(one, engine)})
    return {
        "title": outcome.work.title,
        "headline": outcome.work.headline,
        "prompt_tokens": sum(len(prompt.tokens or []) for prompt in outcome.work.prompts),
        "settings": {name: outcome.rounds[0][name].get("settings") for name in outcome.engines},
        "remarks": {name: text for name in outcome.engines if (text := outcome.remarks(name))},
        "medians": {
            name: {figure: value for figure in names if (value := outcome.figure(name, figure)) is not None}
            for name in outcome.measured
        },
        "rounds": [{name: _figures(one, name) for name in one} for one in outcome.rounds],
    }
