"""PNG charts of the results, for the documentation."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from engine_registry import is_pool, label
from output import shown
from report import Outcome

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

OURS, THEIRS = "#00897b", "#9e9e9e"


def draw(outcome: Outcome, folder: Path, caption: str) -> Path:
    """Draw a workload and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{outcome.work.name}.png"
    figure, axes = pyplot.subplots(figsize=(8, 0.6 + 0.45 * max(6, len(outcome.measured))))
    (_lines if outcome.work.levels else _bars)(outcome, axes)
    axes.set_title(f"{outcome.work.name}  {outcome.work.title}", fontsize=9, loc="left", wrap=True)
    figure.text(0.01, 0.01, caption, fontsize=6, color="#757575")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def _bars(outcome: Outcome, axes: Axes) -> None:
    """Draw one bar per engine, the best on top."""
    headline, lower = outcome.work.headline, outcome.work.lower
    values = {
        name: value for name in outcome.measured if (value := outcome.figure(name, headline)) is not None
    }
    names = sorted(values, key=values.__getitem__, reverse=lower)
    bars = axes.barh(
        [label(name) for name in names],
        [values[name] for name in names],
        color=[OURS if is_pool(name) else THEIRS for name in names],
    )
    axes.bar_label(bars, fmt=shown, fontsize=7, padding=2)
    axes.tick_params(labelsize=7)
    axes.margins(x=0.12)
    axes.set_xlabel(f"{headline.replace('_', ' ')} ({'less' if lower else 'more'} is better)", fontsize=8)


def _lines(outcome: Outcome, axes: Axes) -> None:
    """Draw one line per engine over the number of callers."""
    levels = outcome.work.levels
    for name in outcome.measured:
        rates = [outcome.figure(name, f"tokens_per_second_{level}") or 0.0 for level in levels]
        ours = is_pool(name)
        axes.plot(
            levels, rates, marker="o", linestyle="-" if ours else "--", linewidth=1.4, label=label(name)
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(levels, [str(level) for level in levels])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("callers", fontsize=8)
    axes.set_ylabel("tokens per second (more is better)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.01, 1))
