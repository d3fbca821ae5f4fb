"""Whether the engine's AMX kernels work on this machine, found out in a disposable child process.

GCC 12 miscompiles the tile configuration of ggml's AMX kernels (the stores are dropped), and the first
multiplication with quantised weights is then a fatal fault. A build from source on such a compiler runs fine
until it meets a processor with AMX. So where a build has these kernels, a child tries them once, on the
model that ships; if it does not come back, weights are loaded without ggml's extra buffer types.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from importlib.resources import files

_log = logging.getLogger("poolinfer")
_BEGUN, _WORKS = b"begun\n", b"works\n"
_SECONDS = 60.0
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from poolinfer._engine import probe; probe.main()"
)


def amx_works() -> bool:
    """Try the AMX kernels in a child process; about half a second."""
    said = _ask_child()
    if said == _BEGUN + _WORKS:
        return True
    if said.startswith(_BEGUN):
        _log.warning(
            "this build of llama-cpp-python crashes in its AMX kernels (GCC 12 miscompiles them); weights are"
            " loaded without them, which is slower. Rebuild it with CFLAGS and CXXFLAGS set to"
            " '-mno-amx-tile -mno-amx-int8 -mno-amx-bf16', or with a newer compiler"
        )
    else:
        _log.warning("the AMX kernels could not be tried in a child process; weights are loaded without them")
    return False


def _ask_child() -> bytes:
    """What the child said: an exit status would be lost where the host ignores SIGCHLD."""
    if not sys.executable:
        return b""
    try:
        return subprocess.run(  # noqa: S603 - our own program and our own interpreter
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def main() -> None:
    """The child: multiply with quantised weights, and say so before and after."""
    from .._gguf import read_model_file
    from .._spec import LaneSpec, ModelSpec
    from .base import Batch
    from .llama import load

    file = read_model_file(str(files("poolinfer") / "data" / "tiny.gguf"))
    engine = load(ModelSpec(file.path, file.identity), LaneSpec(n_batch=64), lambda: False, probing=True)
    context = engine.context(n_seq=1, n_ctx=256)
    batch = Batch()
    batch.add(0, 0, list(range(32)), last=True)
    os.write(1, _BEGUN)
    context.decode(batch)
    os.write(1, _WORKS)
