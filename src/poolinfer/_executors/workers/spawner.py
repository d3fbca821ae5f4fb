"""How a worker process is started: by exec, never by fork of the host.

Its socket is one of an anonymous pair, so that nobody else can connect to it. It gets a scrubbed environment, a
pipe for what it prints, and a lifeline (`poolinfer._system.lifeline`).
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import FileIO
from typing import Protocol

from ..._system.environment import child_environment, interpreter
from ..._system.forks import close_in_children
from .channel import Channel, Output
from .child_process import Child, ExecProcess, ProcessHandle
from .poller import Poller


@dataclass(frozen=True, slots=True)
class WorkerProgram:
    """What worker processes run.

    Attributes:
        worker_main: the module that an interpreter runs as a worker.
        zygote_main: the module that an interpreter runs as a zygote.
        factory: what loads the engine there, as ``"module:function"``. Both mains refuse what is no engine of
            poolinfer.
        factory_options: keyword arguments for the factory.
    """

    worker_main: str = "poolinfer._worker.worker_main"
    zygote_main: str = "poolinfer._worker.zygote_main"
    factory: str = "poolinfer._engine.llama.library:load"
    factory_options: Mapping[str, object] = field(default_factory=dict)


class Spawner(Protocol):
    """Starts workers for a supervisor, on whose thread all methods are called."""

    def spawn(self, poller: Poller) -> Child:
        """Start a worker.

        Args:
            poller: the supervisor's, for what else is to be watched.

        Raises:
            OSError: the system has no room for one.
        """
        ...

    def close(self) -> None:
        """End what starts workers. No worker is left when this is called."""
        ...


class ExecSpawner:
    """Starts each worker as a new interpreter (`Spawner`).

    Args:
        main: the module that the interpreter runs.
    """

    def __init__(self, main: str) -> None:
        self._main = main

    def spawn(self, poller: Poller) -> Child:  # noqa: ARG002 - nothing else is to be watched
        """See `Spawner.spawn`."""
        return launch(self._main)

    def close(self) -> None:
        """See `Spawner.close`; there is nothing to end."""


class ChildEnds:
    """Both ends of the socket and the two pipes of a child to come.

    Attributes:
        socket: the child's end of the socket.
        printing: the child's end of the pipe for what it prints.
        lifeline: the child's end of its lifeline.
    """

    def __init__(self) -> None:
        with ExitStack() as made:
            reading, self.printing = _pipe(made)
            self.lifeline, self._held = _pipe(made)
            ours, self.socket = socket.socketpair()
            made.pop_all()
        # A default timeout of the host would make it non-blocking, which its new owner does not know.
        self.socket.setblocking(True)
        self._channel, self._output = Channel(ours), Output(reading)
        close_in_children(ours, self.socket)

    def child(self, process: ProcessHandle) -> Child:
        """The child, once there is a process. It owns the host's ends from now on."""
        return Child(process, self._channel, self._output, self._held)

    def close_theirs(self) -> None:
        """Close our copies of the child's ends, once the child has them; idempotent."""
        self.socket.close()
        self.printing.close()
        self.lifeline.close()

    def close(self) -> None:
        """Close all ends: there will be no child."""
        self.close_theirs()
        self._channel.close()
        self._output.close()
        self._held.close()


def _pipe(made: ExitStack) -> tuple[FileIO, FileIO]:
    """The reading and the writing end of a pipe; the stack closes both, and so do forked children."""
    reading, writing = os.pipe()
    ends = made.enter_context(FileIO(reading)), made.enter_context(FileIO(writing, "wb"))
    close_in_children(*ends)
    return ends


def launch(module: str, **environment: str) -> Child:
    """Start a module of poolinfer in an interpreter of its own; its arguments are its socket and its lifeline.

    Raises:
        OSError: there is no interpreter, or no room for another process or descriptor.
    """
    ends = ChildEnds()
    try:
        process = ExecProcess(_exec(module, ends, environment))
    except BaseException:
        ends.close()
        raise
    ends.close_theirs()
    close_in_children(process)
    return ends.child(process)


def _exec(module: str, ends: ChildEnds, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    theirs = ends.socket.fileno(), ends.lifeline.fileno()
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [interpreter(), "-m", module, *map(str, theirs)],
        stdin=subprocess.DEVNULL,
        stdout=ends.printing,
        stderr=ends.printing,
        pass_fds=theirs,
        env={**child_environment(os.environ), **environment},
    )
