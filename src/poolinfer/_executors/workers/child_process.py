"""A child process as its host sees it: how it is watched for its end, and killed.

A child is waited for by its own process id only. A host that reaps all children, or ignores SIGCHLD, costs us the
child's exit status and nothing else.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from typing import Protocol

from .channel import Channel, Output
from .death import ExitStatus


class ProcessHandle(Protocol):
    """A child process that can be watched and killed."""

    @property
    def pid(self) -> int:
        """The process id."""
        ...

    def exit(self) -> ExitStatus | None:
        """The way in which the process ended, or None while it runs. Reaps it."""
        ...

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Child:
    """A child process, and the host's ends of its socket and pipes.

    Attributes:
        process: the process, for its end and for signals.
        channel: carries frames.
        output: what the process prints.
        lifeline: never written to; the process ends when this is closed (`poolinfer._system.lifeline`).
    """

    process: ProcessHandle
    channel: Channel
    output: Output
    lifeline: FileIO

    def close(self) -> None:
        """Close the host's ends."""
        self.channel.close()
        self.output.close()
        self.lifeline.close()


class ExecProcess:
    """A child process started by `subprocess` (`ProcessHandle`)."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._exit: ExitStatus | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def exit(self) -> ExitStatus | None:
        """The way in which the process ended, or None while it runs. Reaps it."""
        if self._exit is None:
            self._exit = self._look()
        return self._exit

    def _look(self) -> ExitStatus | None:
        if not hasattr(os, "waitid"):
            code = self._popen.poll()
            return None if code is None else ExitStatus(code) if code >= 0 else ExitStatus(signal=-code)
        # The status is read without reaping: if somebody else has reaped it, Popen would report success.
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            self._popen.poll()
            return ExitStatus()
        if found is None:
            return None
        self._popen.poll()
        exited = found.si_code == os.CLD_EXITED
        return ExitStatus(found.si_status) if exited else ExitStatus(signal=found.si_status)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended: its id may belong to another process then."""
        if self.exit() is None:
            with suppress(OSError):
                self._popen.send_signal(number)

    def close(self) -> None:
        """Forget the process: in a forked child it is no child, and its destructor would complain about it."""
        self._popen.returncode = 0
