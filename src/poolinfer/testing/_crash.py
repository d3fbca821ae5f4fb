"""An engine that fails as a prompt says, for tests of what runs it in worker processes.

A worker loads engines of poolinfer only. So this one has mains of its own, which `crash_program` names.

With ``!KIND@3`` in the last turn of a prompt, the process fails when the fourth token of the answer is chosen. With
``!KIND@0`` it fails before any text was seen. A text with ``!STALL`` in it takes 1.5 s to tokenize.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from .._data.errors import ModelError
from .._data.specs import LaneSpec, ModelSpec
from .._executors.workers.spawner import WorkerProgram
from ._fake_engine import FakeEngine

#: What the mains of this engine load.
FACTORIES = re.compile(r"poolinfer\.testing\._crash:load")
_TRIGGER = re.compile(rb"!([A-Z0-9]+)@(\d+)")
_LEAK = 64 * 2**20
_STALL_SECONDS = 1.5
_kept: list[bytearray] = []


def crash_program(**factory_options: object) -> WorkerProgram:
    """What worker processes run to have this engine.

    Args:
        factory_options: keyword arguments for `load`.
    """
    return WorkerProgram(
        worker_main="poolinfer.testing._crash_worker",
        zygote_main="poolinfer.testing._crash_zygote",
        factory="poolinfer.testing._crash:load",
        factory_options=factory_options,
    )


def load(
    spec: ModelSpec,
    lane: LaneSpec,
    cancelled: Callable[[], bool],
    *,
    tokens: int | None = None,
    step_delay: float = 0.0,
    load_delay: float = 0.0,
    fail_load: str = "",
    once: str = "",
    threads: int = 0,
) -> CrashEngine:
    """The engine (a factory for `poolinfer._wire.frames.Boot`).

    Args:
        spec: not used.
        lane: not used.
        cancelled: not used.
        tokens: length of every answer, which repeats the prompt; None for the prompt, once.
        step_delay: seconds of a step.
        load_delay: seconds that loading takes.
        fail_load: how loading fails: a kind of crash, or ``"ERROR"``.
        threads: threads that loading starts and leaves behind.
        once: path of a file that the first load makes. `fail_load` counts for loads that find it there.
    """
    del spec, lane, cancelled
    time.sleep(load_delay)
    for _ in range(threads):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if fail_load and not _is_first(once):
        if fail_load == "ERROR":
            raise ModelError("the engine was told not to load")
        print("the engine was told to crash while loading", file=sys.stderr, flush=True)  # noqa: T201
        fail(fail_load)
    return CrashEngine(tokens=tokens, step_delay=step_delay)


def _is_first(path: str) -> bool:
    if not path:
        return False
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        return True
    return False


class CrashEngine(FakeEngine):
    """Echoes like `FakeEngine`, unless the prompt says otherwise."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of a text, after 1.5 s if it says so."""
        if "!STALL" in text:
            time.sleep(_STALL_SECONDS)
        return super().tokenize(text, add_special=add_special, parse_special=parse_special)

    def answer(self, prompt: list[int], index: int) -> int:
        """The token at an index of the answer, unless the process fails there."""
        found = _TRIGGER.search(bytes(token for token in prompt if token < 256))
        if found and index == int(found[2]):
            fail(found[1].decode())
        return super().answer(prompt, index)


def fail(kind: str) -> None:
    """Fail in one way; only ``LEAK`` and ``FLOOD`` return."""
    _WAYS[kind]()


def _segv() -> None:
    ctypes.string_at(0)


def _hang() -> NoReturn:
    while True:
        time.sleep(0.05)


def _deaf() -> None:
    """C code that never gives the interpreter lock back."""
    ctypes.PyDLL(None).sleep(3600)


def _flood() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.write("flood " * 200_000)
        stream.flush()


def _leak() -> None:
    _kept.append(bytearray(os.urandom(1) * _LEAK))


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.2)


def _write_raw(data: bytes) -> None:
    """Write to the socket of the worker behind its back."""
    with suppress(BlockingIOError):
        os.write(int(sys.argv[1]), data)


def _half() -> NoReturn:
    _write_raw((1_000_000).to_bytes(4, "big") + b"[" + b" " * 100_000)
    os._exit(1)


_WAYS: dict[str, Callable[[], object]] = {
    "SEGV": _segv,
    "ABRT": os.abort,
    "KILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "EXIT0": lambda: os._exit(0),
    "EXIT1": lambda: os._exit(1),
    "SYSEXIT": sys.exit,
    "HANG": _hang,
    "STOP": _stop,
    "DEAF": _deaf,
    "FLOOD": _flood,
    "LEAK": _leak,
    "GARBAGE": lambda: _write_raw(b"\xff" * 64),
    "HALF": _half,
}
