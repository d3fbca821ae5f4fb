"""What could crash this process is tried in a disposable child first: a model file, and the AMX kernels.

A file that poolinfer's parser finds sound may still make llama.cpp abort: while loading, at the first text, or at
the first row that is computed. And GCC 12 miscompiles the tile configuration of ggml's AMX kernels: it drops
the stores. Built by such a compiler, llama.cpp runs fine until it meets a processor with AMX. There, the first
multiplication with quantised weights is a fatal fault.

The child says how far it came, step by step, through a pipe: its exit status would be lost where the host reaps
all children. This is the host's side; the child runs `trial_child`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import cast

from typing_extensions import Self

from ..._data.errors import ModelError, PoolClosed
from ..._data.specs import ModelSpec
from ..._system.environment import child_environment, interpreter
from ..._system.logs import SafeLog
from ..._wire.codec import decode, encode, register

register(ModelSpec)

_log = SafeLog()
#: The steps that a child announces.
FILE, FILE_SOUND, AMX, AMX_WORKS = "file", "file sound", "amx", "amx works"
# How long a child may take, and how slow the disk may be from which it reads the weights.
_TRIAL_SECONDS, _DISK_BYTES_PER_SECOND = 60.0, 10e6
_LOOK_SECONDS = 0.02
_REAP_SECONDS = 10.0
# How much of the output of a child is kept, and how much ends it.
_TAIL_BYTES, _TAIL_LINES, _FLOOD_BYTES = 8192, 3, 2**20


class Trial:
    """A child process that tries things, from the beginning of a `with` block; nothing of it is left at the end.

    Args:
        spec: the model whose file to try, or None.
        amx: whether to try the AMX kernels too, where the build has them.
    """

    def __init__(self, spec: ModelSpec | None = None, *, amx: bool = False) -> None:
        self._path = spec.path if spec is not None else ""
        size = sum(file.identity[2] for file in spec.files) if spec is not None else 0
        self._seconds = _TRIAL_SECONDS + size / _DISK_BYTES_PER_SECOND
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
        """Refuse the file if the child did not survive it. If the child never came to the file, the file passes.

        Raises:
            ModelError: llama.cpp cannot load the file, or crashes or hangs on it.
        """
        if FILE_SOUND in self._steps:
            return
        words = self._words or "the process that tried it ended without a word"
        if FILE in self._steps:
            raise ModelError(f"{self._path}: llama.cpp cannot load this model: {words}")
        _log.warning("%s is loaded without having been tried in a child process: %s", self._path, words)

    def judge_amx(self) -> bool:
        """Whether the child found that the AMX kernels of this build work; logs it when they do not."""
        if AMX_WORKS in self._steps:
            return True
        if AMX in self._steps:
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
    # No argument may be as long as a chat template, or the documents for it.
    short = None if spec is None else replace(spec, chat_template=None, chat_template_kwargs=None)
    return "" if short is None else encode(short).decode()


def decode_spec(text: str) -> ModelSpec:
    """The model that a child finds in its arguments."""
    return cast("ModelSpec", decode(text.encode()))


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [interpreter(), "-m", "poolinfer._engine.llama.trial_child", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # At an abort, ggml would start a debugger, which takes a second and says nothing that is of use here.
        env={**child_environment(os.environ), "GGML_NO_BACKTRACE": "1"},
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
        if ended or time.monotonic() > deadline or max(map(len, heard)) > _FLOOD_BYTES:
            break
    steps, words = (data[-_TAIL_BYTES:].decode(errors="replace") for data in heard)
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
