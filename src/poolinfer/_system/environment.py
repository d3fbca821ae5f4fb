"""The Python environment: what child processes are started with, and which library has patched Python's own."""

from __future__ import annotations

import _thread
import os
import select
import socket
import subprocess
import sys
import time
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
    """The path of the Python interpreter to start child processes with.

    Where Python is embedded (uWSGI, mod_wsgi), `sys.executable` is the embedding program, an empty text or None.

    Raises:
        FileNotFoundError: no interpreter was found.
    """
    # An embedding program may set `sys.executable` to None, or to anything else.
    executable: object = sys.executable
    if isinstance(executable, str) and Path(executable).name.lower().startswith(("python", "pypy")):
        return executable
    found = Path(sys.prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    if not found.is_file():
        raise FileNotFoundError(f"there is no Python interpreter to start a process with: {found} is missing")
    return str(found)


def patched_by() -> str | None:
    """The library (gevent, eventlet) that has replaced functions of the standard library, or None."""
    functions = (_thread.start_new_thread, select.select, socket.socket, subprocess.Popen, time.sleep)
    roots = {str(getattr(function, "__module__", "")).partition(".")[0] for function in functions}
    return next((library for library in ("gevent", "eventlet") if library in roots), None)


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for a child process: those of the host that a worker may need, and three more."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }
    kept["PYTHONPATH"] = os.pathsep.join(_import_path())
    # From Python 3.11 on, a child does not import what lies in the working directory.
    kept["PYTHONSAFEPATH"] = "1"
    # A child that calls abort() would otherwise wait for a debugger that it starts itself.
    kept["GGML_NO_BACKTRACE"] = "1"
    return kept


def _import_path() -> list[str]:
    """The host's import path, in its order, since the standard library has to stay before site-packages.

    Items that are no texts are left out; the host's imports ignore them, too.
    """
    paths: list[object] = [*sys.path, str(Path(__file__).parents[2])]
    texts = dict.fromkeys(path for path in paths if isinstance(path, str) and path)
    return [path for path in texts if os.pathsep not in path and "\0" not in path]
