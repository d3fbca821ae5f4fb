"""What a supervisor knows of one worker: its state, when it is to be killed, and how it ended."""

from __future__ import annotations

import signal
from typing import Literal, TypeAlias

from ..._data.events import Failed
from .child_process import Child, ProcessHandle
from .connection import Connection
from .death import Death, Exit
from .patience import Patience

_NEVER = float("inf")

WorkerState: TypeAlias = Literal["booting", "up", "stopping", "dying"]


class Worker:
    """One worker process, as its supervisor sees it.

    Attributes:
        number: counts all workers from 1.
        child: its process and the host's ends of its socket and pipe.
        line: what carries its messages.
        state: see `poolinfer._executors.workers.supervisor`.
        heard: when it last showed progress; `answered`: when it last said anything.
        why: why we end it, or ``""``.
        exited: whether its process was found ended while its socket was not.
        killed: whether we killed it, for being stuck.
        expected: whether its end is our wish.
        was_up: whether it ever was.
        failure: why it could not boot, if it said so.
        term_at: when it gets SIGTERM; `kill_at`: SIGKILL; `give_up_at`: when it is left behind.
    """

    __slots__ = (
        *(
            "answered",
            "child",
            "exited",
            "expected",
            "failure",
            "give_up_at",
            "heard",
            "kill_at",
            "killed",
            "line",
            "number",
        ),
        *("state", "term_at", "was_up", "why"),
    )

    def __init__(self, number: int, child: Child, now: float) -> None:
        self.number = number
        self.child = child
        self.line: Connection
        self.state: WorkerState = "booting"
        self.heard = self.answered = now
        self.why = ""
        self.exited = self.expected = self.killed = self.was_up = False
        self.failure: Failed | None = None
        self.term_at = self.kill_at = self.give_up_at = _NEVER

    @property
    def process(self) -> ProcessHandle:
        """Its process."""
        return self.child.process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.process.pid

    @property
    def due(self) -> float:
        """When the kill ladder goes on."""
        return min(self.term_at, self.kill_at, self.give_up_at)

    def overdue(self, now: float, patience: Patience) -> str:
        """What it has not done in time, or ``""``."""
        if self.state == "booting" and now >= self.heard + patience.boot:
            return f"it was not up within {patience.boot} s"
        if not self.pid:
            # It waits to be forked, and cannot answer yet.
            self.answered = now
        silent = patience.silent_boot if self.state == "booting" else patience.silent
        if self.state in ("booting", "up") and now >= self.answered + silent:
            return f"it has not answered for {silent} s: it is stopped, or native code keeps its interpreter lock"
        if self.state == "up" and now >= self.heard + patience.stuck:
            return f"it has made no progress for {patience.stuck} s"
        return ""

    def end(self, status: Exit, closing: bool) -> Death:
        """It has ended, which is by our wish if all is `closing`: how. Its ends here are closed."""
        self.child.output.drain()
        death = Death(status, self.child.output.text, self.why, self.expected or closing)
        self.child.close()
        return death

    def terminate(self, now: float, patience: Patience) -> None:
        """Send SIGTERM, and SIGKILL after a while."""
        self.term_at = _NEVER
        self.kill_at = min(self.kill_at, now + patience.term)
        self.process.send_signal(signal.SIGTERM)

    def climb(self, now: float, patience: Patience) -> None:
        """Send the signals that are due."""
        if now >= self.term_at:
            self.terminate(now, patience)
        if now >= self.kill_at:
            self.kill_at, self.give_up_at = _NEVER, now + patience.give_up
            self.process.send_signal(signal.SIGKILL)
