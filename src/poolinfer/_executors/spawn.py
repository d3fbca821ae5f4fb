"""How a worker process is started: by exec, never by fork of the host.

Its socket is half of an anonymous pair and nothing that a stranger could connect to. It gets a scrubbed
environment and a pipe for what it prints.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from io import FileIO
from typing import Protocol

from .._environment import interpreter, scrub
from .channel import Channel, Output
from .child import Child, ExecProcess, Process
from .forks import close_in_children
from .loop import Loop


class Spawner(Protocol):
    """Starts workers for a supervisor, on whose thread all of this is called."""

    def spawn(self, loop: Loop) -> Child:
        """Start a worker; `loop` is the supervisor's.

        Raises:
            OSError: the system has no room for one.
        """
        ...

    def close(self) -> None:
        """End what was kept to start workers; no worker is left when this is called."""
        ...


class ExecSpawner:
    """Starts each worker as a new interpreter (`Spawner`)."""

    def spawn(self, loop: Loop) -> Child:  # noqa: ARG002 - it needs no news
        """See `Spawner.spawn`."""
        return launch("poolinfer._worker")

    def close(self) -> None:
        """See `Spawner.close`; nothing was kept."""


class Ends:
    """Both ends of the socket and the pipe of a child to come.

    Attributes:
        socket: the child's end of the socket.
        printing: the child's end of the pipe.
    """

    def __init__(self) -> None:
        ours, self.socket = socket.socketpair()
        # A default timeout of the host would make it non-blocking, which its new owner does not know.
        self.socket.setblocking(True)
        close_in_children(ours, self.socket)
        try:
            reading, writing = os.pipe()
        except BaseException:
            ours.close()
            self.socket.close()
            raise
        self._channel, self._output = Channel(ours), Output(reading)
        self.printing = FileIO(writing, "wb")
        close_in_children(self._output, self.printing)

    def child(self, process: Process) -> Child:
        """The child, once there is a process; our ends are its own from now on."""
        return Child(process, self._channel, self._output)

    def close_theirs(self) -> None:
        """Close the child's ends, which it has by now; idempotent."""
        self.socket.close()
        self.printing.close()

    def close(self) -> None:
        """Close all of them: there will be no child."""
        self.close_theirs()
        self._channel.close()
        self._output.close()


def launch(module: str, **environment: str) -> Child:
    """Start a module of poolinfer in an interpreter of its own; its first argument is its socket.

    Raises:
        OSError: there is no interpreter, or no room for another process or descriptor.
    """
    ends = Ends()
    try:
        process = ExecProcess(_exec(module, ends, environment))
    except BaseException:
        ends.close()
        raise
    ends.close_theirs()
    close_in_children(process)
    return ends.child(process)


def _exec(module: str, ends: Ends, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [interpreter(), "-m", module, str(ends.socket.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=ends.printing,
        stderr=ends.printing,
        pass_fds=(ends.socket.fileno(),),
        env={**scrub(os.environ), **environment},
    )
