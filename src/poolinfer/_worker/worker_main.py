"""A worker, run by `python -m poolinfer._worker.worker_main FD LIFELINE` or forked.

It relays between frames and a thread executor with one lane.

    reader thread:  socket ──> submit, cancel, pong. When the stream ends, it ends the process, even in C code
    main thread:    boot, stop
    sender thread:  all events of a step ──> one frame

The reader answers pings itself. So an answer shows that the process lives, and the count of steps in it shows
whether the lane does. C code that keeps the interpreter lock stops the reader as well. Then the host sees that no
ping is answered, and the kernel ends the worker when the host is gone (`poolinfer._system.lifeline`).
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import itertools
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, TypeAlias

from .._data.errors import EngineError, ModelError, PoolinferError
from .._data.events import Done, Event, Failed, Job
from .._data.stats import ExecutorStats
from .._engine.engine_protocol import Engine
from .._executors.thread import ThreadExecutor
from .._system.lifeline import end_with_host
from .._system.logs import LLAMA
from .._system.machine import pss
from .._system.threads import OwnThread
from .._wire.frames import (
    Boot,
    BootFailed,
    Cancel,
    Ping,
    Pong,
    Stop,
    Submit,
    ToWorker,
    Up,
)
from .worker_socket import BOOT_FAILED, BROKEN, WorkerSocket

#: Loads the engine that a boot message names; the second argument says whether loading has been given up.
Load: TypeAlias = Callable[[Boot, Callable[[], bool]], Engine]

#: The factories that a worker calls, whatever its host says: the function `load` of poolinfer's own engines.
ENGINES = re.compile(r"poolinfer\._engine(\.[a-z_]+)*:load", re.ASCII)
_PR_SET_NO_NEW_PRIVS = 38
_WATCH_SECONDS = 1.0
_MEMORY_WATCHES = 5
_PONG_SECONDS = 0.1


class WorkerMain:
    """Relays between its socket and the inner executor.

    Args:
        sock: the socket that leads to the host.
        load: called once, with the first message.
    """

    def __init__(self, sock: WorkerSocket, load: Load) -> None:
        self._socket = sock
        self._load = load
        self._inner: ThreadExecutor | None = None
        self._todo: SimpleQueue[Boot | Stop] = SimpleQueue()
        self._due = 0.0
        self._memory: tuple[int, ...] = ()

    def take(self, message: ToWorker) -> None:
        """Obey a message of the host. The reader calls this, so it must not block."""
        if isinstance(message, Boot | Stop):
            self._todo.put(message)
        elif isinstance(message, Ping):
            self._socket.queue(Pong(ExecutorStats()) if self._inner is None else self._pong(self._inner))
            self._socket.flush()
        elif self._inner is None:
            raise EngineError("the host sent work before the engine was loaded")
        elif isinstance(message, Submit):
            self._submit(self._inner, message.job)
        elif isinstance(message, Cancel):
            self._inner.cancel(message.job_id)

    def _pong(self, inner: ThreadExecutor) -> Pong:
        return Pong(replace(inner.stats(), memory=self._memory))

    def _submit(self, inner: ThreadExecutor, job: Job) -> None:
        if not inner.submit(job, partial(self._emit, inner, job.id)):
            self._emit(inner, job.id, Failed.of(EngineError("the worker has no room for the call")))
            self._socket.flush()

    def _emit(self, inner: ThreadExecutor, job_id: int, event: Event) -> None:
        if isinstance(event, Done | Failed) and time.monotonic() >= self._due:
            self._due = time.monotonic() + _PONG_SECONDS
            self._socket.queue(self._pong(inner))
        self._socket.queue((job_id, event))

    def _flush(self) -> None:
        if self._inner is None or not self._inner.busy:
            # No call runs any more. The caller need not wait until another thread wakes up.
            self._socket.flush()
        else:
            # The sender has its turn while the lane is in C code.
            self._socket.flush_soon()

    def work(self) -> int:
        """Boot, and wait until told to stop; the exit status."""
        boot = self._todo.get()
        if isinstance(boot, Stop):
            return 0
        self._socket.listen_to_log(boot.levels)
        try:
            inner = ThreadExecutor(
                lambda cancelled: self._load(boot, cancelled),
                workers=1,
                lane=boot.lane,
                flush=self._flush,
            )
            inner.start(lambda: None)
        except Exception as error:
            self._socket.queue(BootFailed(as_failure(error)))
            return BOOT_FAILED
        self._inner = inner
        self._socket.queue(Up())
        self._socket.flush()
        whole = self._wait_for_stop(_pool_threads())
        inner.close(0.0)
        return 0 if whole else BROKEN

    def _wait_for_stop(self, threads: list[threading.Thread]) -> bool:
        """Wait until told to stop; False when a thread of the executor has died, which nothing survives."""
        for n in itertools.count():
            if n % _MEMORY_WATCHES == 0:
                # This may take long where much is mapped. The main thread has nothing else to do.
                cost = pss()
                self._memory = () if cost is None else (cost,)
            if not all(thread.is_alive() for thread in threads):
                break
            with suppress(Empty):
                self._todo.get(timeout=_WATCH_SECONDS)
                return True
        logging.getLogger("poolinfer").error("a thread of the worker has died")
        return False


def load_engine(boot: Boot, cancelled: Callable[[], bool], factories: re.Pattern[str]) -> Engine:
    """Load the engine that a boot message names.

    Args:
        boot: the message.
        cancelled: says whether loading has been given up.
        factories: what names of factories are called at all.

    Raises:
        ModelError: the model cannot be loaded, or the factory is none of `factories`.
    """
    if not factories.fullmatch(boot.factory):
        raise ModelError(f"{boot.factory} is not an engine of poolinfer")
    module, _, name = boot.factory.partition(":")
    load: Any = getattr(importlib.import_module(module), name)
    engine: Engine = load(boot.spec, boot.lane, cancelled, **dict(boot.factory_options))
    return engine


def as_failure(error: Exception) -> Failed:
    """The reason why loading failed, as data."""
    if isinstance(error, PoolinferError):
        return Failed.of(error)
    return Failed.of(ModelError(f"the worker failed to start: {type(error).__name__}: {error}"))


def _pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("poolinfer-")]


def settle_in(lifeline: int) -> None:
    """Set up signals, rights and logs of a process that serves a host and ends with it."""
    # Ctrl-C in a terminal reaches the whole process group; it is the host's to decide about.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    end_with_host(lifeline)
    faulthandler.enable()
    printing = logging.StreamHandler()
    printing.setLevel(logging.WARNING)
    logging.basicConfig(format="%(name)s: %(message)s", handlers=[printing])
    logging.getLogger(LLAMA).setLevel(logging.WARNING)


def serve(sock: socket.socket, load: Load) -> NoReturn:
    """Serve the host at the other end of a socket, with the engine that `load` returns."""
    sock.set_inheritable(False)
    connected = WorkerSocket(sock)
    worker = WorkerMain(connected, load)
    OwnThread(target=partial(_listen, connected, worker), name="worker-reader").start()
    status = worker.work()
    connected.flush()
    # Nothing is left to do, and to unload libraries beside live threads could crash.
    os._exit(status)


def main(factories: re.Pattern[str] = ENGINES) -> NoReturn:
    """Serve the socket whose descriptor is the first argument; the second is the lifeline's.

    Args:
        factories: what names of factories are called at all.
    """
    settle_in(int(sys.argv[2]))
    serve(
        socket.socket(fileno=int(sys.argv[1])),
        lambda boot, cancelled: load_engine(boot, cancelled, factories),
    )


def _listen(connected: WorkerSocket, worker: WorkerMain) -> None:
    try:
        connected.receive(worker.take)
    except Exception:
        logging.getLogger("poolinfer").exception("the worker does not understand its host")
        os._exit(BROKEN)


if __name__ == "__main__":
    main()
