"""What our child processes are started with: an interpreter, no secrets, and the host's import path."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_ALLOWED = frozenset(
    (
        *("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"),
        *("PYTHONPYCACHEPREFIX", "PYTHONNOUSERSITE"),
    )
)
_ALLOWED_PREFIXES = (
    *("LC_", "OMP_", "GOMP_", "KMP_", "GGML_", "LLAMA_", "CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "VK_"),
)


def interpreter() -> str:
    """The Python interpreter to start children with.

    Where Python is embedded (uWSGI, mod_wsgi), `sys.executable` is the program around it, or empty.

    Raises:
        FileNotFoundError: there is none.
    """
    if Path(sys.executable).name.lower().startswith(("python", "pypy")):
        return sys.executable
    found = Path(sys.prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    if not found.is_file():
        raise FileNotFoundError(f"there is no Python interpreter to start a process with: {found} is missing")
    return str(found)


def scrub(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child gets of the host's environment."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }
    package = str(Path(__file__).parents[1])
    paths = dict.fromkeys([package, *(path for path in sys.path if path)])
    kept["PYTHONPATH"] = os.pathsep.join(path for path in paths if os.pathsep not in path)
    # Nor does it import what lies in the working directory (from Python 3.11 on).
    kept["PYTHONSAFEPATH"] = "1"
    # A child that calls abort() would otherwise wait for a debugger that it starts itself.
    kept["GGML_NO_BACKTRACE"] = "1"
    return kept
