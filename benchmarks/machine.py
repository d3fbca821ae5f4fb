"""The machine and the versions that figures depend on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import poolinfer

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
    """Return the machine's memory in gigabytes."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def machine_facts() -> dict[str, str | int | float]:
    """Return what the figures depend on: processor, cores, memory, system; not the machine's name."""
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
