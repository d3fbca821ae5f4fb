"""What could crash this process is tried in a disposable child first: a model file, and the AMX kernels.

A file that our own parser finds sound may still make llama.cpp abort, while it loads the file, at the first text
or at the first row that is computed. And GCC 12 miscompiles the tile configuration of ggml's AMX kernels (the
stores are dropped): a build from source on such a compiler runs fine until it meets a processor with AMX, where
the first multiplication with quantised weights is a fatal fault.

The child says how far it came, step by step, through a pipe: its exit status would be lost where the host reaps
all children. This module is also its main, `python -m poolinfer._engine.llama.trial PARENT SPEC AMX`.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from typing_extensions import Self

from ..._data.errors import ModelError, PoolClosed
from ..._data.specs import LaneSpec, ModelSpec
from ..._system.environment import interpreter, scrub
from ..._system.logs import LLAMA, SafeLog

_log = SafeLog()
# The steps that a child announces.
_FILE, _FILE_SOUND, _AMX, _AMX_WORKS = "file", "file sound", "amx", "amx works"
# How long a child may take, and how slow the disk may be from which it reads the weights.
_SECONDS, _BYTES_PER_SECOND = 60.0, 10e6
_LOOK_SECONDS = 0.02
_REAP_SECONDS = 10.0
_MEMORY = 2 * 2**30
_TAIL, _TAIL_LINES, _FLOOD = 8192, 3, 2**20
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


class Trial:
    """A child process that tries things, from the beginning of a `with` block; nothing of it is left at the end.

    Args:
        spec: the model whose file to try, or None.
        amx: whether to try the AMX kernels too, where the build has them.
    """

    def __init__(self, spec: ModelSpec | None = None, *, amx: bool = False) -> None:
        self._path = spec.path if spec is not None else ""
        self._seconds = _SECONDS + (spec.identity[2] / _BYTES_PER_SECOND if spec is not None else 0)
        self._arguments = [str(os.getpid()), _encode(spec), "amx" if amx else ""]
        self._child: subprocess.Popen[bytes] | None = None
        self._steps: list[str] = []
        self._words = ""

    def __enter__(self) -> Self:
        try:
            self._child = _start(self._arguments)
        except (OSError, subprocess.SubprocessError) as error:
            self._words = str(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is None:
            return
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_REAP_SECONDS)
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def wait(self, cancelled: Callable[[], bool]) -> None:
        """Wait until the child has ended, for a minute at most, and longer for a large file.

        Raises:
            PoolClosed: `cancelled` said True.
        """
        if self._child is not None:
            began = time.monotonic()
            steps, words = _listen(self._child, began + self._seconds, cancelled)
            self._steps = steps.splitlines()
            how = _ending(self._child, time.monotonic() - began)
            lines = [line for line in words.splitlines() if line.strip()][-_TAIL_LINES:]
            self._words = "; ".join(_printable(line) for line in [how, *lines] if line)

    def judge_file(self) -> None:
        """Refuse the file if the child did not survive it. A file that it never came to is let pass.

        Raises:
            ModelError: llama.cpp cannot load the file, or crashes or hangs on it.
        """
        if _FILE_SOUND in self._steps:
            return
        words = self._words or "the process that tried it ended without a word"
        if _FILE in self._steps:
            raise ModelError(f"{self._path}: llama.cpp cannot load this model: {words}")
        _log.warning("%s is loaded without having been tried in a child process: %s", self._path, words)

    def judge_amx(self) -> bool:
        """Whether the child found that the AMX kernels of this build work; logs it when they do not."""
        if _AMX_WORKS in self._steps:
            return True
        if _AMX in self._steps:
            _log.warning(
                "this build of llama-cpp-python crashes in its AMX kernels (GCC 12 miscompiles them); weights"
                " are loaded without them, which is slower. Rebuild it with CFLAGS and CXXFLAGS set to"
                " '-mno-amx-tile -mno-amx-int8 -mno-amx-bf16', or with a newer compiler"
            )
        else:
            _log.warning(
                "the AMX kernels could not be tried in a child process; weights are loaded without them"
            )
        return False


def _encode(spec: ModelSpec | None) -> str:
    # No argument may be as long as a chat template.
    return "" if spec is None else json.dumps(asdict(replace(spec, chat_template=None)))


def _decode(text: str) -> ModelSpec:
    fields = json.loads(text)
    return ModelSpec(**{**fields, "identity": tuple(fields["identity"])})


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [interpreter(), "-m", "poolinfer._engine.llama.trial", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # At an abort, ggml would start a debugger, which takes a second and says nothing that is of use here.
        env={**scrub(os.environ), "GGML_NO_BACKTRACE": "1"},
        # Ctrl-C in a terminal is meant for the host.
        start_new_session=True,
    )


def _listen(
    child: subprocess.Popen[bytes], deadline: float, cancelled: Callable[[], bool]
) -> tuple[str, str]:
    """What the child wrote to its stdout and stderr, the last 8 KiB of each, until it ended or time was up."""
    while True:
        if cancelled():
            raise PoolClosed("the pool was closed while its model was loading")
        ended = child.poll() is not None
        try:
            heard = child.communicate(timeout=_LOOK_SECONDS)
            break
        except subprocess.TimeoutExpired as so_far:
            heard = (so_far.stdout or b"", so_far.stderr or b"")
        # A process that the host forked meanwhile may hold the pipes of an ended child open.
        if ended or time.monotonic() > deadline or max(map(len, heard)) > _FLOOD:
            break
    steps, words = (data[-_TAIL:].decode(errors="replace") for data in heard)
    return steps, words


def _ending(child: subprocess.Popen[bytes], seconds: float) -> str:
    """How the child ended after some seconds, if that was remarkable."""
    try:
        status = child.wait(1.0)
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:.0f} s"
    return f"killed by signal {-status} ({signal.strsignal(-status)})" if status < 0 else ""


def _printable(line: str) -> str:
    """A line without control characters: what llama.cpp says may quote the file."""
    return "".join(char if char.isprintable() else "?" for char in line.strip())


def main() -> NoReturn:
    """The child: try what the arguments say, and announce each step."""
    parent, spec, amx = sys.argv[1:]
    _settle_in(int(parent))
    from .library import has_amx
    from .trial_child import try_file

    amx_here = has_amx()
    if spec:
        _say(_FILE)
        if not try_file(_decode(spec)):
            os._exit(1)
        _say(_FILE_SOUND)
    if amx and amx_here:
        _try_amx()
    # Nothing is left to do, and unloading libraries has crashed before.
    os._exit(0)


def _settle_in(parent: int) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger(LLAMA).setLevel(logging.WARNING)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # A tokenizer that does not suit its vocabulary may ask for more memory for ever.
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            # Ends with the thread that started it, which waits for it.
            libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with suppress(OSError):
            # Where there is less memory, it is this process that goes.
            Path("/proc/self/oom_score_adj").write_text("1000")
    if os.getppid() != parent:
        os._exit(1)


def _say(step: str) -> None:
    os.write(1, f"{step}\n".encode())


def _try_amx() -> None:
    """Multiply with quantised weights."""
    from ..._gguf.model_file import read_model_file
    from ..engine_protocol import Batch
    from .library import load

    file = read_model_file(str(files("poolinfer") / "data" / "tiny.gguf"))
    engine = load(ModelSpec(file.path, file.identity), LaneSpec(n_batch=64), lambda: False, probing=True)
    context = engine.context(n_seq=1, n_ctx=256)
    batch = Batch()
    batch.add(0, 0, list(range(32)), last=True)
    _say(_AMX)
    context.decode(batch)
    _say(_AMX_WORKS)


if __name__ == "__main__":
    main()
