"""A worker, run by `python -m poolinfer._worker.worker_main FD LIFELINE` or forked.

It relays between frames and a thread executor with one lane.

    reader thread:  socket ──> submit, cancel, pong; the end of the stream ends the process, also inside C code
    main thread:    boot, stop
    sender thread:  all that a step gave rise to ──> one frame

The reader answers pings itself, so a ping says that the process lives, and only the count of steps in the
answer says that its lane does. C code that keeps the interpreter lock stops the reader as well: then the host
sees that no ping is answered, and the kernel sees when the host is gone (`poolinfer._system.lifeline`).
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
from collections import deque
from collections.abc import Callable, Sequence
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
from .._system.logs import LLAMA, Forwarder, forward
from .._system.machine import pss
from .._system.threads import OwnThread
from .._wire.codec import WireError
from .._wire.frames import (
    Boot,
    BootFailed,
    Burst,
    Cancel,
    FrameReader,
    FromWorker,
    Logged,
    Ping,
    Pong,
    Stop,
    Submit,
    ToWorker,
    Up,
    frame,
    read_to_worker,
)

#: What is still to be said: an event with its job's id, or a message.
_Saying: TypeAlias = "tuple[int, Event] | FromWorker"

_READ = 256 * 1024
_FACTORY = re.compile(r"poolinfer\.(_engine|testing)(\.[a-z_]+)*:[a-z_]+", re.ASCII)
_PR_SET_NO_NEW_PRIVS = 38
#: Exit statuses: the host is gone, the engine could not be loaded, the worker is broken.
HOST_GONE, BOOT_FAILED, BROKEN = 0, 3, 70
_WATCH_SECONDS = 1.0
_MEMORY_WATCHES = 5
_PONG_SECONDS = 0.1


class Link:
    """The worker's end of its socket. What is said goes out in the order it was said, after what was logged."""

    def __init__(self, sock: socket.socket) -> None:
        self._log: Forwarder | None = None
        self._sock = sock
        self._outbox: deque[_Saying] = deque()
        self._bell = threading.Semaphore(0)
        self._sending = threading.Lock()
        self._frames = FrameReader()
        OwnThread(target=self._send_all, name="worker-sender").start()

    def say(self, what: _Saying) -> None:
        """Have a message, or an event, sent by the next `flush`."""
        self._outbox.append(what)

    def listen_to_log(self, levels: tuple[int, int]) -> None:
        """Have what is logged from now on sent, too."""
        self._log = forward(levels, self._bell.release)

    def flush_soon(self) -> None:
        """Send all that was said, on another thread."""
        if self._outbox:
            self._bell.release()

    def flush(self) -> None:
        """Send all that was said."""
        with self._sending:
            said: list[_Saying] = [*logged(self._log)]
            with suppress(IndexError):
                while True:
                    said.append(self._outbox.popleft())
            if not said:
                return
            try:
                self._sock.sendall(pack(said))
            except OSError:
                os._exit(HOST_GONE)

    def hear(self, take: Callable[[ToWorker], None]) -> NoReturn:
        """Take messages until the host is gone; then end the process, even inside a C call."""
        with suppress(OSError):
            while data := self._sock.recv(_READ):
                for message in self._frames.feed(data):
                    take(read_to_worker(message))
        os._exit(HOST_GONE)

    def _send_all(self) -> NoReturn:
        try:
            while True:
                self._bell.acquire()
                self.flush()
        except Exception:
            logging.getLogger("poolinfer").exception("the worker cannot say what it has to say")
            os._exit(BROKEN)


def logged(log: Forwarder | None) -> list[Logged]:
    """The message with what was logged and not sent yet, if there is any."""
    lines, lost = log.take() if log is not None else ((), 0)
    return [Logged(lines, lost)] if lines else []


def pack(said: list[_Saying]) -> bytes:
    """The frames for what was said: messages first, and all events in one."""
    events = [one for one in said if isinstance(one, tuple)]
    messages: list[FromWorker] = [one for one in said if not isinstance(one, tuple)]
    return b"".join(map(frame, messages)) + (_pack_events(events) if events else b"")


def _pack_events(events: Sequence[tuple[int, Event]]) -> bytes:
    """One frame, or one for each where that would be too much; an answer that fits none is an error."""
    try:
        return frame(Burst(tuple(events)))
    except WireError as error:
        if len(events) > 1:
            return b"".join(_pack_events([one]) for one in events)
        job_id, event = events[0]
        if not isinstance(event, Done):
            # A piece; the whole that follows will not fit either.
            return b""
        failure = Failed.of(EngineError(f"the answer cannot be sent to the pool's process ({error})"))
        return frame(Burst(((job_id, failure),)))


class WorkerMain:
    """Relays between the link and the inner executor."""

    def __init__(self, link: Link, engine: Engine | None) -> None:
        self._link = link
        self._engine = engine
        self._inner: ThreadExecutor | None = None
        self._todo: SimpleQueue[Boot | Stop] = SimpleQueue()
        self._due = 0.0
        self._memory: tuple[int, ...] = ()

    def take(self, message: ToWorker) -> None:
        """One message of the host; called by the reader, so it must not block."""
        if isinstance(message, Boot | Stop):
            self._todo.put(message)
        elif isinstance(message, Ping):
            self._link.say(Pong(ExecutorStats()) if self._inner is None else self._pong(self._inner))
            self._link.flush()
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
            self._link.flush()

    def _emit(self, inner: ThreadExecutor, job_id: int, event: Event) -> None:
        if isinstance(event, Done | Failed) and time.monotonic() >= self._due:
            self._due = time.monotonic() + _PONG_SECONDS
            self._link.say(self._pong(inner))
        self._link.say((job_id, event))

    def _flush(self) -> None:
        if self._inner is None or not self._inner.busy:
            # Nobody is served meanwhile, and the caller need not wait until another thread wakes up.
            self._link.flush()
        else:
            # It sends while the lane is in its C code.
            self._link.flush_soon()

    def work(self) -> int:
        """Boot, and wait until told to stop; the exit status."""
        boot = self._todo.get()
        if isinstance(boot, Stop):
            return 0
        self._link.listen_to_log(boot.levels)
        try:
            inner = ThreadExecutor(
                lambda cancelled: self._engine or load_engine(boot, cancelled),
                workers=1,
                lane=boot.lane,
                flush=self._flush,
            )
            inner.start(lambda: None)
        except Exception as error:
            self._link.say(BootFailed(as_failure(error)))
            return BOOT_FAILED
        self._inner = inner
        self._link.say(Up())
        self._link.flush()
        whole = self._wait_for_stop(_pool_threads())
        inner.close(0.0)
        return 0 if whole else BROKEN

    def _wait_for_stop(self, threads: list[threading.Thread]) -> bool:
        """Wait until told to stop; False when a thread of the executor has died, which nothing survives."""
        for n in itertools.count():
            if n % _MEMORY_WATCHES == 0:
                # It may take long, where much is mapped; this thread has nothing else to do.
                cost = pss()
                self._memory = () if cost is None else (cost,)
            if not all(thread.is_alive() for thread in threads):
                break
            with suppress(Empty):
                self._todo.get(timeout=_WATCH_SECONDS)
                return True
        logging.getLogger("poolinfer").error("a thread of the worker has died")
        return False


def load_engine(boot: Boot, cancelled: Callable[[], bool]) -> Engine:
    """Load what a boot message says.

    Raises:
        ModelError: it cannot be loaded.
    """
    if not _FACTORY.fullmatch(boot.factory):
        raise ModelError(f"{boot.factory} is not an engine of poolinfer")
    module, _, name = boot.factory.partition(":")
    load: Any = getattr(importlib.import_module(module), name)
    engine: Engine = load(boot.spec, boot.lane, cancelled, **dict(boot.knobs))
    return engine


def as_failure(error: Exception) -> Failed:
    """Why loading failed, as data."""
    if isinstance(error, PoolinferError):
        return Failed.of(error)
    return Failed.of(ModelError(f"the worker failed to start: {type(error).__name__}: {error}"))


def _pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("poolinfer-")]


def settle_in(lifeline: int) -> None:
    """Signals, rights and logs of a process that serves another, and ends with it."""
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


def serve(sock: socket.socket, engine: Engine | None) -> NoReturn:
    """Serve the host at the other end of a socket, with an engine that is loaded already, or will be."""
    sock.set_inheritable(False)
    link = Link(sock)
    worker = WorkerMain(link, engine)
    OwnThread(target=partial(_listen, link, worker), name="worker-reader").start()
    status = worker.work()
    link.flush()
    # Nothing is left to do, and unloading libraries beside live threads can crash.
    os._exit(status)


def main() -> NoReturn:
    """Serve the socket whose descriptor is the first argument; the second is the lifeline's."""
    settle_in(int(sys.argv[2]))
    serve(socket.socket(fileno=int(sys.argv[1])), None)


def _listen(link: Link, worker: WorkerMain) -> None:
    try:
        link.hear(worker.take)
    except Exception:
        logging.getLogger("poolinfer").exception("the worker does not understand its host")
        os._exit(BROKEN)


if __name__ == "__main__":
    main()
