"""The recipes of `docs/servers.md`, and scripts made of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PERU, LIMA = "What is the capital of Peru?", "The capital of Peru is Lima."
WAIT = 30.0


def recipe(heading: str) -> str:
    """The last block of Python under a heading of the page."""
    page = (ROOT / "docs/servers.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[-1]


def run_python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{cwd}"},
        capture_output=True,
        text=True,
        timeout=WAIT,
        cwd=cwd,
    )
