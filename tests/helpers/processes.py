"""Processes as Linux shows them in /proc."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs. A zombie, which its parent has yet to reap, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started, by whichever of its threads."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found.extend(map(int, path.read_text().split()))
    return found


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    return [one for child in children(pid) for one in (child, *descendants(child))]
