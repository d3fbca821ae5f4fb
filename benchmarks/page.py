"""Pastes what was measured into ``docs/performance.md``, between markers."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "performance.md"
ASSETS = DOCS / "assets"


def paste(name: str, text: str) -> None:
    """Replace what stands between ``<!-- bench NAME -->`` and ``<!-- /bench NAME -->``."""
    source = PAGE.read_text(encoding="utf-8")
    opening, closing = f"<!-- bench {name} -->", f"<!-- /bench {name} -->"
    pattern = re.compile(f"{re.escape(opening)}.*?{re.escape(closing)}", re.DOTALL)
    if not pattern.search(source):
        raise ValueError(f"{PAGE.name} has no place called {name}")
    new = f"{opening}\n\n{text}\n\n{closing}"
    PAGE.write_text(pattern.sub(lambda _: new, source), encoding="utf-8")
