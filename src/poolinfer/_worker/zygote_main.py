"""A zygote, run by `python -m poolinfer._worker.zygote_main FD LIFELINE`.

It loads the weights once, and forks workers that share them.

It has one thread and never computes. OpenMP's threads do not survive a fork: a child that is forked after the first
parallel region would hang in its own first one. The zygote reads one message after the other, and does nothing by
itself.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import socket
import sys
from collections import deque
from pathlib import Path
from typing import NoReturn

from .._data.errors import ModelError
from .._engine.engine_protocol import Engine
from .._engine.llama.library import check_forkable, inherit
from .._system.lifeline import end_with_host
from .._system.logs import Forwarder, forward_logs
from .._wire.frames import (
    Boot,
    BootFailed,
    Fork,
    Forked,
    FrameReader,
    FromZygote,
    Reap,
    Reaped,
    Signal,
    ToZygote,
    Up,
    frame,
    read_to_zygote,
)
from .worker_main import ENGINES, as_failure, load_engine, serve, settle_in
from .worker_socket import BOOT_FAILED, BROKEN, HOST_GONE, logged

_READ = 64 * 1024
_FDS = 64
_log = logging.getLogger("poolinfer")


class ZygoteMain:
    """Serves the host at the other end of a socket.

    Args:
        sock: the socket that leads to the host.
        lifeline: the descriptor of this process's own lifeline.
        factories: what names of factories are called at all.
    """

    def __init__(self, sock: socket.socket, lifeline: int, factories: re.Pattern[str]) -> None:
        self._factories = factories
        self._sock = sock
        self._lifeline = lifeline
        self._frames = FrameReader()
        self._received: deque[ToZygote] = deque()
        self._fds: deque[int] = deque()
        self._pids: dict[int, int] = {}
        self._log: Forwarder | None = None

    def run(self) -> NoReturn:
        """Load, and serve until the host is gone."""
        boot = self._receive()
        if not isinstance(boot, Boot):
            raise TypeError(f"a zygote boots first, and got {boot}")
        # What is logged goes out with the next message, as no other thread could send it.
        self._log = forward_logs(boot.levels, lambda: None)
        try:
            engine = load_engine(boot, lambda: False, self._factories)
            check_forkable()
            _check_threads()
        except Exception as error:
            self._send(BootFailed(as_failure(error)))
            os._exit(BOOT_FAILED)
        # The collector writes to what it looks at. What is frozen stays shared with the workers.
        gc.collect()
        gc.freeze()
        self._send(Up())
        while True:
            self._obey(self._receive(), engine)

    def _obey(self, message: ToZygote, engine: Engine) -> None:
        if isinstance(message, Fork):
            self._fork(message.number, engine)
        elif isinstance(message, Signal) and message.number in self._pids:
            os.kill(self._pids[message.number], message.signal)
        elif isinstance(message, Reap):
            self._send(self._reap(message.number))

    def _fork(self, number: int, engine: Engine) -> None:
        if len(self._fds) < 3:
            # This process had no room for the descriptors. The host sees the end of the worker's socket.
            return
        fd, printing, lifeline = fds = [self._fds.popleft() for _ in range(3)]
        try:
            _check_threads()
            pid = os.fork()
        except (OSError, ModelError) as error:
            os.write(printing, f"a worker cannot be forked: {error}\n".encode())
            pid = -1
        if pid == 0:
            self._become_worker(fd, printing, lifeline, engine)
        for theirs in fds:
            os.close(theirs)
        if pid > 0:
            self._pids[number] = pid
            self._send(Forked(number, pid))

    def _become_worker(self, fd: int, printing: int, lifeline: int, engine: Engine) -> NoReturn:
        try:
            end_with_host(lifeline)
            self._sock.close()
            # The ends of workers that are still to be forked, and the zygote's own lifeline.
            for other in (*self._fds, self._lifeline):
                os.close(other)
            os.dup2(printing, 1)
            os.dup2(printing, 2)
            os.close(printing)
            # As if it had been started by exec.
            sys.argv[1:] = [str(fd), str(lifeline)]
            inherit()
            serve(socket.socket(fileno=fd), lambda boot, cancelled: engine)  # noqa: ARG005 - loaded
        except BaseException:
            _log.exception("a forked worker failed")
        os._exit(BROKEN)

    def _reap(self, number: int) -> Reaped:
        if number not in self._pids:
            return Reaped(number, running=False)
        pid, status = os.waitpid(self._pids[number], os.WNOHANG)
        if not pid:
            return Reaped(number, running=True)
        del self._pids[number]
        code = os.waitstatus_to_exitcode(status)
        return Reaped(number, False, code) if code >= 0 else Reaped(number, False, signal=-code)

    def _send(self, message: FromZygote) -> None:
        messages: list[FromZygote] = [*logged(self._log), message]
        try:
            self._sock.sendall(b"".join(map(frame, messages)))
        except OSError:
            os._exit(HOST_GONE)

    def _receive(self) -> ToZygote:
        while not self._received:
            try:
                data, fds, flags, _ = socket.recv_fds(self._sock, _READ, _FDS)
            except OSError:
                data, fds, flags = b"", [], 0
            if not data:
                os._exit(HOST_GONE)
            self._fds.extend(fds)
            if flags & socket.MSG_CTRUNC:
                while self._fds:
                    os.close(self._fds.popleft())
            self._received.extend(map(read_to_zygote, self._frames.feed(data)))
        return self._received.popleft()


def _check_threads() -> None:
    n = sum(1 for _ in Path("/proc/self/task").iterdir())
    if n != 1:
        raise ModelError(
            f"the process that loaded the model has {n} threads, which do not survive a fork: this build of"
            " llama-cpp-python or a library that it uses starts them. Use executor='process'"
        )


def main(factories: re.Pattern[str] = ENGINES) -> NoReturn:
    """Serve the socket whose descriptor is the first argument; the second is the lifeline's.

    Args:
        factories: what names of factories are called at all.
    """
    lifeline = int(sys.argv[2])
    settle_in(lifeline)
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    try:
        ZygoteMain(sock, lifeline, factories).run()
    except Exception:
        _log.exception("the zygote failed")
    os._exit(BROKEN)


if __name__ == "__main__":
    main()
