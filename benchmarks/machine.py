"""What the figures depend on, the machine and the versions; and how results and tables are written."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import poolinfer

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("llama-cpp-python", "xllamacpp", "numpy")


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


def cpu_features() -> str:
    """Return the vector extensions of the processor that matter to llama.cpp."""
    info = Path("/proc/cpuinfo")
    known = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    words = set(info.read_text().split()) if info.exists() else set()
    return " ".join(name for name in known if name in words)


def memory_gb() -> float:
    """Return the machine's memory."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def machine() -> dict[str, str | int | float]:
    """Return what identifies the machine, short of its name."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "features": cpu_features(),
        "memory_gb": memory_gb(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
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
    packages = {name: package_version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "poolinfer": poolinfer.__version__, **packages}


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what the small benchmarks take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="the tiny model, little of it: does it run at all?"
    )
    parser.add_argument("--json", type=Path, help="where to write the results (default: benchmarks/results/)")
    parser.add_argument("--docs", action="store_true", help="paste the table into docs/performance.md")
    return parser


def save(results: dict[str, Any], name: str, *, quick: bool, path: Path | None = None) -> Path:
    """Write results with the machine and the versions to a file, by default ``results/NAME.json``; the file."""
    target = path or RESULTS / f"{name}{'-quick' if quick else ''}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine(), "versions": versions(), **results}
    target.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return target


def shown(value: float) -> str:
    """Return a figure with three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells, the first of them headings, as a Markdown table that also reads well in a terminal."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])
