"""How a benchmark gives its results: options of the command line, tables, result files, and docs/performance.md."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import machine_facts, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DOCS = HERE.parent / "docs"
PAGE = DOCS / "performance.md"
ASSETS = DOCS / "assets"


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that the small benchmarks share: `--quick`, `--json` and `--docs`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="the tiny model and little work, to see that the script runs"
    )
    parser.add_argument("--json", type=Path, help="where to write the results (default: benchmarks/results/)")
    parser.add_argument("--docs", action="store_true", help="paste the table into docs/performance.md")
    return parser


def save(results: dict[str, Any], name: str, *, quick: bool, path: Path | None = None) -> Path:
    """Write results, machine and versions to a file, by default ``results/NAME.json``; returns its path."""
    target = path or RESULTS / f"{name}{'-quick' if quick else ''}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine_facts(), "versions": versions(), **results}
    target.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return target


def shown(value: float) -> str:
    """Return a figure with three significant digits, or without decimals from 100 on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table that also reads well in a terminal; the first line holds the headings."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def publish(name: str, text: str, results: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print a table, save the results that it shows, and paste it if asked to (see `options`)."""
    print(text)
    save(results, name, quick=arguments.quick, path=arguments.json)
    if arguments.docs:
        paste(name, text)


def paste(name: str, text: str) -> None:
    """Replace the text between ``<!-- bench NAME -->`` and ``<!-- /bench NAME -->`` in docs/performance.md."""
    source = PAGE.read_text(encoding="utf-8")
    opening, closing = f"<!-- bench {name} -->", f"<!-- /bench {name} -->"
    pattern = re.compile(f"{re.escape(opening)}.*?{re.escape(closing)}", re.DOTALL)
    if not pattern.search(source):
        raise ValueError(f"{PAGE.name} has no place called {name}")
    new = f"{opening}\n\n{text}\n\n{closing}"
    PAGE.write_text(pattern.sub(lambda _: new, source), encoding="utf-8")
