"""How a worker process is started, watched for its end, and killed: by exec, never by fork of the host.

Its socket is half of an anonymous pair and nothing that a stranger could connect to. It gets a scrubbed
environment and a pipe for what it prints. It is waited for by its own process id only: a host that reaps all
children, or ignores SIGCHLD, costs us the exit status and nothing else.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from .channel import Channel, Output
from .forks import close_in_children

_ALLOWED = frozenset(
    (
        *("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"),
        *("PYTHONPYCACHEPREFIX", "PYTHONNOUSERSITE"),
    )
)
_ALLOWED_PREFIXES = (
    *("LC_", "OMP_", "GOMP_", "KMP_", "GGML_", "LLAMA_", "CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "VK_"),
)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; both are None when somebody else reaped it.

    Attributes:
        code: its exit status, when it exited.
        signal: the number of the signal that killed it.
    """

    code: int | None = None
    signal: int | None = None


class Process(Protocol):
    """A child process."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    def exit(self) -> Exit | None:
        """How it ended, or None while it runs; reaps it."""
        ...

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Child:
    """A started worker: its process, and the host's ends of its socket and of what it prints."""

    process: Process
    channel: Channel
    output: Output

    def close(self) -> None:
        """Close the host's ends."""
        self.channel.close()
        self.output.close()


#: Starts a worker; raises OSError when the system has no room for one.
Spawn: TypeAlias = Callable[[], Child]


class ExecProcess:
    """A child process started by `subprocess` (`Process`)."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._exit: Exit | None = None

    @property
    def pid(self) -> int:
        """Its id."""
        return self._popen.pid

    def exit(self) -> Exit | None:
        """How it ended, or None while it runs; reaps it."""
        if self._exit is None:
            self._exit = self._look()
        return self._exit

    def _look(self) -> Exit | None:
        if not hasattr(os, "waitid"):
            code = self._popen.poll()
            return None if code is None else Exit(code) if code >= 0 else Exit(signal=-code)
        # Looked at without reaping: Popen takes a status that somebody else reaped for success.
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            self._popen.poll()
            return Exit()
        if found is None:
            return None
        self._popen.poll()
        exited = found.si_code == os.CLD_EXITED
        return Exit(found.si_status) if exited else Exit(signal=found.si_status)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended; a process id that was given to another is never hit."""
        if self.exit() is None:
            with suppress(OSError):
                self._popen.send_signal(number)

    def close(self) -> None:
        """Forget it: in a forked child it is not a child, and no destructor is to complain about it."""
        self._popen.returncode = 0


def spawn_worker() -> Child:
    """Start a worker process.

    Raises:
        OSError: there is no interpreter, or no room for another process or descriptor.
    """
    if not sys.executable:
        raise FileNotFoundError(
            "sys.executable is empty: there is no Python interpreter to run a worker with"
        )
    ours, theirs = socket.socketpair()
    close_in_children(ours, theirs)
    try:
        process, output = _launch(theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    close_in_children(output, process)
    return Child(process, Channel(ours), output)


def _launch(theirs: socket.socket) -> tuple[ExecProcess, Output]:
    reading, writing = os.pipe()
    output = Output(reading)
    try:
        popen = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "poolinfer._worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            pass_fds=(theirs.fileno(),),
            env=scrub(os.environ),
        )
    except BaseException:
        output.close()
        raise
    finally:
        os.close(writing)
    return ExecProcess(popen), output


def scrub(environment: Mapping[str, str]) -> dict[str, str]:
    """What a worker gets of the host's environment: no secrets, and the host's import path."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }
    package = str(Path(__file__).parents[2])
    paths = dict.fromkeys([package, *(path for path in sys.path if path)])
    kept["PYTHONPATH"] = os.pathsep.join(path for path in paths if os.pathsep not in path)
    # Nor does it import what lies in the working directory (from Python 3.11 on).
    kept["PYTHONSAFEPATH"] = "1"
    # A worker that calls abort() would otherwise wait for a debugger that it starts itself.
    kept["GGML_NO_BACKTRACE"] = "1"
    return kept
