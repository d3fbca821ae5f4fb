"""What the benchmark prints and keeps: the machine, the medians, the table."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median

from measure import Measurement, label
from workload import Workload

PACKAGES = ("poolinfer", "llama-cpp-python", "numpy")
COLUMNS = ("engine", "tokens/s", "vs locked", "vs bare", "wall s", "peak MB", "check")


@dataclass(frozen=True)
class Outcome:
    """One engine in one round: a measurement, or why there is none."""

    engine: str
    measured: Measurement | None
    error: str | None = None


@dataclass(frozen=True)
class Row:
    """Medians of one engine over the rounds; ratios are medians of each round's own ratio."""

    engine: str
    rate: float | None
    vs_locked: float | None
    vs_bare: float | None
    seconds: float | None
    peak_rss_mb: float | None
    problems: list[str]

    def cells(self) -> tuple[str, ...]:
        """Return what the table shows."""
        return (
            self.engine,
            "-" if self.rate is None else f"{self.rate:.1f}",
            "-" if self.vs_locked is None else f"{self.vs_locked:.2f}x",
            "-" if self.vs_bare is None else f"{self.vs_bare:.2f}x",
            "-" if self.seconds is None else f"{self.seconds:.2f}",
            "-" if self.peak_rss_mb is None else f"{self.peak_rss_mb:.0f}",
            "; ".join(self.problems) or "ok",
        )


def usable_cores() -> int:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, str | int]:
    """Return what identifies the machine, short of its name."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "system": platform.system(),
        "arch": platform.machine(),
    }


def package_version(name: str) -> str:
    """Return the version of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Return the versions that matter for the figures."""
    return {"python": platform.python_version(), **{name: package_version(name) for name in PACKAGES}}


def problems(outcome: Outcome, work: Workload) -> list[str]:
    """Return what is wrong with a measurement: nothing, when every chat is whole."""
    if outcome.measured is None:
        return [outcome.error or "failed"]
    found = []
    whole = sum(count == work.max_tokens for count in outcome.measured.counts)
    if whole != len(work.prompts):
        found.append(f"only {whole} of {len(work.prompts)} chats have {work.max_tokens} tokens")
    if outcome.measured.prompt_counts != [len(prompt) for prompt in work.prompts]:
        found.append("prompt token counts differ from the baselines'")
    return found


def _median(values: Iterable[float]) -> float | None:
    """Return the median, or None of nothing."""
    present = list(values)
    return median(present) if present else None


def _ratio(engine: str, base: str, rounds: Sequence[dict[str, Outcome]]) -> float | None:
    """Return the median over the rounds of one engine's rate over another's in the same round."""
    pairs = [(one[engine].measured, one[base].measured) for one in rounds if engine in one and base in one]
    return _median(mine.rate / other.rate for mine, other in pairs if mine and other)


def summarise(engine: str, rounds: Sequence[dict[str, Outcome]], work: Workload) -> Row:
    """Return an engine's row of the table."""
    measured = [found for one in rounds if (found := one[engine].measured)]
    return Row(
        engine=label(engine, work),
        rate=_median(one.rate for one in measured),
        vs_locked=_ratio(engine, "locked", rounds),
        vs_bare=_ratio(engine, "bare", rounds),
        seconds=_median(one.seconds for one in measured),
        peak_rss_mb=_median(one.peak_rss_mb for one in measured),
        problems=list(dict.fromkeys(text for one in rounds for text in problems(one[engine], work))),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table that also reads well in a terminal."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])
