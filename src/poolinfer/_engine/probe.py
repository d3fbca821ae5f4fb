"""Whether the engine's AMX kernels work on this machine, found out in a disposable child process.

GCC 12 miscompiles the tile configuration of ggml's AMX kernels (the stores are dropped), and the first
multiplication with quantised weights is then a fatal fault. A build from source on such a compiler runs fine
until it meets a processor with AMX. So where a build has these kernels, a child tries them once, on the
model that ships; if it does not come back, weights are loaded without ggml's extra buffer types.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.resources import files

_log = logging.getLogger("poolinfer")
_WORKS = b"works"
_SECONDS = 60.0


def amx_works() -> bool:
    """Try the AMX kernels in a child process; about half a second."""
    try:
        # The answer is what the child prints: an exit status is lost where the host ignores SIGCHLD.
        child = subprocess.run(
            [sys.executable, "-m", "poolinfer._engine.probe"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
        works = child.stdout.strip() == _WORKS
    except (OSError, subprocess.SubprocessError):
        works = False
    if not works:
        _log.warning(
            "this build of llama-cpp-python crashes in its AMX kernels (GCC 12 miscompiles them); poolinfer loads"
            " weights without them, which is slower. Rebuild it with"
            " CFLAGS='-mno-amx-tile -mno-amx-int8 -mno-amx-bf16' and the same CXXFLAGS, or with a newer compiler"
        )
    return works


def _try() -> None:
    from .._gguf import read_model_file
    from .._spec import LaneSpec, ModelSpec
    from .base import Batch
    from .llama import load

    file = read_model_file(str(files("poolinfer") / "data" / "tiny.gguf"))
    spec = ModelSpec(file.path, file.identity)
    engine = load(spec, LaneSpec(n_batch=64), lambda: False, probing=True)
    context = engine.context(n_seq=1, n_ctx=256)
    batch = Batch()
    batch.add(0, 0, list(range(32)), last=True)
    context.decode(batch)
    sys.stdout.buffer.write(_WORKS)


if __name__ == "__main__":
    _try()
