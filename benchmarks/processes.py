"""Memory and processor time of a process and all its descendants, read from ``/proc`` (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def tree() -> list[int]:
    """Return the ids of this process and of all its living descendants."""
    parents = _parents()
    found = [os.getpid()]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def leaves() -> list[int]:
    """Return the ids of this process's living descendants that have no children."""
    parents = set(_parents().values())
    return [pid for pid in tree()[1:] if pid not in parents]


def _parents() -> dict[int, int]:
    """Return the id of each living process and that of its parent."""
    pids = [int(folder.name) for folder in PROC.iterdir() if folder.name.isdigit()]
    return {pid: int(fields[1]) for pid in pids if (fields := _stat(pid))}


def pss(pids: list[int]) -> int:
    """Return bytes of memory, in which a page that n processes share counts for 1/n in each of them."""
    return sum(_kilobytes(pid, "smaps_rollup").get("Pss", 0) for pid in pids) * 1024


def peak_memory(pids: list[int]) -> int:
    """Return about the most bytes that processes have had: their PSS, plus what each has freed since its peak."""
    freed = 0
    for pid in pids:
        status = _kilobytes(pid, "status")
        freed += status.get("VmHWM", 0) - status.get("VmRSS", 0)
    return pss(pids) + max(0, freed) * 1024


def cpu_seconds(pids: list[int]) -> float:
    """Return the processor time that processes and their reaped children have used, in steps of 10 ms."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid))) / TICKS


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the process's name: state, parent, ... or [] once it has ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _kilobytes(pid: int, name: str) -> dict[str, int]:
    """Return the values in kilobytes of a file in /proc/PID; none once the process has ended."""
    try:
        lines = (PROC / str(pid) / name).read_text().splitlines()
    except OSError:
        return {}
    words = (line.split() for line in lines)
    return {word[0].rstrip(":"): int(word[1]) for word in words if len(word) == 3 and word[2] == "kB"}
