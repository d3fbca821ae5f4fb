"""Pastes what was measured into ``docs/performance.md``, between markers."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from machine import save

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "performance.md"
ASSETS = DOCS / "assets"


def publish(name: str, text: str, results: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print a table, save the results that it shows, and paste it if asked to (see `machine.options`)."""
    print(text)
    save(results, name, quick=arguments.quick, path=arguments.json)
    if arguments.docs:
        paste(name, text)


def paste(name: str, text: str) -> None:
    """Replace what stands between ``<!-- bench NAME -->`` and ``<!-- /bench NAME -->``."""
    source = PAGE.read_text(encoding="utf-8")
    opening, closing = f"<!-- bench {name} -->", f"<!-- /bench {name} -->"
    pattern = re.compile(f"{re.escape(opening)}.*?{re.escape(closing)}", re.DOTALL)
    if not pattern.search(source):
        raise ValueError(f"{PAGE.name} has no place called {name}")
    new = f"{opening}\n\n{text}\n\n{closing}"
    PAGE.write_text(pattern.sub(lambda _: new, source), encoding="utf-8")
