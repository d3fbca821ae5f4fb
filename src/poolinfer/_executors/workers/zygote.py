"""Prefork: workers forked by a zygote, which has loaded the weights once, so that they share all of them.

    ZygoteSpawner ──Fork + three descriptors, Signal, Reap──> zygote ──fork──> workers
    ZygoteSpawner <──Up | BootFailed, Forked, Reaped──────── zygote

The zygote is started by exec when the first worker is wanted, and again when it has died. Workers that are
wanted while it loads wait for it; to their supervisor they are booting. The host talks with each worker over
the worker's own socket, as if it had been started by exec. Only signals and exit statuses go through the zygote,
the worker's parent: the host might use a process id that belongs to another process by now.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..._data.events import Failed
from ..._system.logs import SafeLog, log_again, wanted_levels
from ..._wire.codec import WireError
from ..._wire.frames import (
    Boot,
    BootFailed,
    Fork,
    Forked,
    Logged,
    Reap,
    Reaped,
    Signal,
    Up,
    frame,
    read_from_zygote,
)
from .child_process import Child
from .connection import Connection
from .death import ExitStatus
from .patience import PatientClock
from .poller import Poller
from .restarts import RestartLimit, Restarts
from .spawner import ChildEnds, launch

_log = SafeLog()
#: How long a zygote may not answer, which takes milliseconds: one that runs, and one that was stopped.
_STUCK_SECONDS = 10.0
_STOPPED_SECONDS = 2.0
_END_SECONDS = 10.0
_NAP = 0.002
# Libraries that start threads when they are loaded are told not to: threads do not survive a fork.
_SINGLE_THREADED = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB")}


class ForkedProcess:
    """A worker that was forked, or is still to be forked (`ProcessHandle`).

    Attributes:
        number: the number by which host and zygote call it.
        ends: the socket and the pipes, both ends of each.
        pid: the process id; 0 until the zygote has said it.
        status: how it ended; None while that is not known.
        asked_at: when the zygote was asked for its status; None when no question is open.
    """

    def __init__(self, number: int, ends: ChildEnds, zygote: Zygote) -> None:
        self.number = number
        self.ends = ends
        self.pid = 0
        self.status: ExitStatus | None = None
        self.asked_at: float | None = None
        self._zygote = zygote

    def exit(self) -> ExitStatus | None:
        """The way in which the worker ended, or None while it runs."""
        if self.status is None:
            self._zygote.ask(self)
        return self.status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the worker has ended."""
        if self.status is None:
            self._zygote.signal(self, number)


class Zygote:
    """One zygote process, and the workers that it forked. All methods are called on the supervisor's thread.

    Args:
        main: the module that the zygote's interpreter runs.
        boot: the first message to the zygote.
        poller: the supervisor's poller.
        on_lost: called once, when the zygote has ended or was given up.

    Attributes:
        up: whether the zygote has loaded the weights.
    """

    def __init__(self, main: str, boot: Boot, poller: Poller, on_lost: Callable[[Zygote], None]) -> None:
        self.up = False
        self._on_lost = on_lost
        self._clock = PatientClock()
        self._alive = True
        self._failure: Failed | None = None
        self._waiting: dict[int, ForkedProcess] = {}
        self._workers: dict[int, ForkedProcess] = {}
        self._child = launch(main, **_SINGLE_THREADED)
        self._connection = Connection(self._child, poller, self._on_message, self._on_end)
        self._connection.send(frame(replace(boot, levels=wanted_levels())))

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._child.process.pid

    @property
    def reaped(self) -> bool:
        """Whether the zygote has ended."""
        return self._child.process.exit() is not None

    def fork(self, number: int) -> Child:
        """Have a worker forked, as soon as the weights are loaded.

        Raises:
            OSError: there is no room for its descriptors, or the zygote is gone.
        """
        ends = ChildEnds()
        worker = self._waiting[number] = ForkedProcess(number, ends, self)
        try:
            if self.up:
                self._send(worker)
        except OSError:
            del self._waiting[number]
            ends.close()
            raise
        return ends.child(worker)

    def ask(self, worker: ForkedProcess) -> None:
        """Ask the zygote how a worker has ended. The answer sets the worker's `status`, now or later."""
        self._clock.tick()
        if worker.number in self._waiting:
            return
        if not self._alive:
            worker.status = self._fate(worker)
        elif worker.asked_at is None:
            worker.asked_at = self._clock.now
            self._connection.send(frame(Reap(worker.number)))
        elif self._is_stuck(self._clock.now - worker.asked_at):
            _log.warning("the zygote does not answer, and is ended")
            self.end()

    def _is_stuck(self, silent: float) -> bool:
        return silent > _STUCK_SECONDS or (silent > _STOPPED_SECONDS and _state(self.pid) == "T")

    def signal(self, worker: ForkedProcess, number: int) -> None:
        """Send a signal to a worker. A worker that was not forked yet is not forked any more."""
        if self._waiting.pop(worker.number, None) is not None:
            worker.status = ExitStatus(signal=number)
            worker.ends.close_theirs()
            if not self._waiting and not self.up:
                self.end()
        elif self._alive:
            self._connection.send(frame(Signal(worker.number, number)))
        elif worker.pid:
            with suppress(OSError):
                os.kill(worker.pid, number)

    def end(self) -> None:
        """Kill the zygote. Its workers go on, and those that it has not forked yet fail."""
        if not self._alive:
            return
        self._alive = False
        self._connection.cut()
        self._child.process.send_signal(signal.SIGKILL)
        for worker in self._waiting.values():
            self._report_for(worker)
        self._waiting.clear()
        self._child.close()
        self._on_lost(self)

    def _fate(self, worker: ForkedProcess) -> ExitStatus | None:
        """How a worker has ended whose zygote is gone; None while it runs.

        A worker that was never forked has ended as its zygote has.
        """
        if not worker.pid:
            return self._child.process.exit()
        return None if _runs(worker.pid) else ExitStatus()

    def _report_for(self, worker: ForkedProcess) -> None:
        """Write what the zygote printed, and why it failed, to the ends of a worker that will never be forked.

        So the supervisor reads it as if the worker had written it.
        """
        with suppress(OSError):
            worker.ends.printing.write(self._child.output.text.encode())
            if self._failure is not None:
                worker.ends.socket.sendall(frame(BootFailed(self._failure)))
        worker.ends.close_theirs()

    def _send(self, worker: ForkedProcess) -> None:
        ends = worker.ends
        fds = ends.socket.fileno(), ends.printing.fileno(), ends.lifeline.fileno()
        self._child.channel.send_with(frame(Fork(worker.number)), fds)
        worker.ends.close_theirs()
        self._workers[worker.number] = self._waiting.pop(worker.number)

    def _on_end(self, why: str) -> None:
        if why:
            _log.warning("the zygote is ended: %s", why)
        self.end()

    def _on_message(self, data: bytes) -> None:
        message = read_from_zygote(data)
        if isinstance(message, Logged):
            log_again(message.lines, message.lost, f"zygote {self.pid}")
        elif isinstance(message, Up):
            self.up = True
            for worker in list(self._waiting.values()):
                try:
                    self._send(worker)
                except OSError:
                    self.signal(worker, signal.SIGKILL)
        elif isinstance(message, BootFailed):
            self._failure = message.failure
        elif message.number in self._workers:
            self._on_worker_message(self._workers[message.number], message)

    def _on_worker_message(self, worker: ForkedProcess, message: Forked | Reaped) -> None:
        if isinstance(message, Forked):
            # When the zygote is gone, the host sends signals to this id: it must be no process group, and not init.
            if message.pid <= 1:
                raise WireError(f"{message.pid} is not the id of a worker")
            worker.pid = message.pid
            return
        worker.asked_at = None
        if not message.running:
            worker.status = ExitStatus(message.code, message.signal)
            del self._workers[worker.number]


def _runs(pid: int) -> bool:
    """Whether a process that is no child of ours still runs. A zombie has ended."""
    return _state(pid) not in "ZX"


def _state(pid: int) -> str:
    """The letter for a process's state in /proc; X where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "X"


class ZygoteSpawner:
    """Has workers forked by a zygote (`poolinfer._executors.workers.spawner.Spawner`).

    Args:
        main: the module that the zygote's interpreter runs.
        boot: the first message to the zygote.
    """

    def __init__(self, main: str, boot: Boot) -> None:
        self._main = main
        self._boot = boot
        self._zygote: Zygote | None = None
        self._lost: list[Zygote] = []
        self._numbers = 0
        self._restarts = Restarts(RestartLimit())

    @property
    def pid(self) -> int | None:
        """The zygote's process id, while there is one."""
        return None if self._zygote is None else self._zygote.pid

    def spawn(self, poller: Poller) -> Child:
        """See `Spawner.spawn`."""
        self._lost = [zygote for zygote in self._lost if not zygote.reaped]
        if self._zygote is None:
            self._zygote = self._start(poller)
        self._numbers += 1
        return self._zygote.fork(self._numbers)

    def _start(self, poller: Poller) -> Zygote:
        return Zygote(self._main, self._boot, poller, lambda zygote: self._on_lost(zygote, poller))

    def _on_lost(self, zygote: Zygote, poller: Poller) -> None:
        self._lost.append(zygote)
        if self._zygote is not zygote:
            return
        self._zygote = None
        if zygote.up and self._restarts.died(time.monotonic(), busy=False) is not None:
            # The next one loads now, so that no worker has to wait for that. If it cannot load, or zygotes die
            # again and again, one is started when a worker is wanted, and the worker's failure counts.
            _log.warning("the zygote has died; another one is started")
            with suppress(OSError):
                self._zygote = self._start(poller)

    def close(self) -> None:
        """See `Spawner.close`."""
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.end()
        deadline = time.monotonic() + _END_SECONDS
        while any(not zygote.reaped for zygote in self._lost) and time.monotonic() < deadline:
            time.sleep(_NAP)
