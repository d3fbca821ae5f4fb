"""Cores and memory that this process may use, and memory that a process takes, from the cgroup and /proc."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Number of cores that this process may use, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    n = len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
    quota = _cgroup_cores()
    return max(1, n if quota is None else min(n, math.ceil(quota)))


def available_memory() -> int | None:
    """Bytes of memory that this process may still take, or None if the system does not say."""
    found = [value for value in (_free_memory(), _cgroup_memory()) if value is not None]
    return min(found, default=None)


def rss(pid: int) -> int:
    """Resident bytes of a process; 0 if the system does not say."""
    words = _read(Path(f"/proc/{pid}/statm")).split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def pss() -> int | None:
    """Bytes of this process as PSS (memory that n processes share counts one n-th); None if unknown."""
    for line in _read(Path("/proc/self/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_cores() -> float | None:
    """Cores that the cgroup allows, or None for no bound."""
    words = _read(_CGROUP / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit():
        return int(words[0]) / int(words[1])
    quota, period = _number(_CGROUP / "cpu/cpu.cfs_quota_us"), _number(_CGROUP / "cpu/cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _cgroup_memory() -> int | None:
    """Bytes that the cgroup still allows, or None for no bound."""
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, current = _number(_CGROUP / most), _number(_CGROUP / used)
        if limit is not None and current is not None:
            return max(0, limit - current)
    return None


def _free_memory() -> int | None:
    """Bytes that the machine has left, or None when it does not say."""
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
