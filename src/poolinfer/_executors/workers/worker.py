"""What a supervisor knows of one worker process: its state, what it is due for, and how it has ended."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Literal, TypeAlias

from ..._data.events import Failed
from ..._wire.frames import Ping, Stop, frame
from .child_process import Child, ProcessHandle
from .connection import Connection
from .death import Death, ExitStatus
from .patience import Patience, PatientClock
from .poller import Poller

_NEVER = float("inf")

WorkerState: TypeAlias = Literal["booting", "up", "stopping", "dying"]


class Worker:
    """One worker process. All methods are called on the supervisor's thread.

    Args:
        number: how many workers were started before it, plus one.
        child: the process, and the host's ends of the socket and pipes.
        clock: the supervisor's clock.
        patience: how long to wait for what.

    Attributes:
        connection: what carries its messages.
        state: ``"booting"``, ``"up"``, ``"stopping"`` (because it was asked to), or ``"dying"`` (its socket has
            ended, and only its exit status is missing).
        progressed_at: when it last showed progress.
        answered_at: when its last message came.
        why: the reason for which the host ends it; ``""`` if the host does not.
        killed: whether the host killed it because it was stuck.
        expected: whether the host asked it to end.
        was_up: whether it has ever been up.
        exited: whether its process was found to have ended while its socket had not.
        failure: why it could not boot, if it said so.
        term_at: when to send SIGTERM.
        kill_at: when to send SIGKILL.
        give_up_at: when to go on without waiting for its exit status.
    """

    __slots__ = (
        *("_clock", "_patience", "answered_at", "child", "connection", "exited", "expected", "failure"),
        *("give_up_at", "kill_at", "killed", "number", "progressed_at", "state", "term_at", "was_up", "why"),
    )

    def __init__(self, number: int, child: Child, clock: PatientClock, patience: Patience) -> None:
        self.number = number
        self.child = child
        self._clock = clock
        self._patience = patience
        self.connection: Connection
        self.state: WorkerState = "booting"
        self.progressed_at = self.answered_at = clock.now
        self.why = ""
        self.exited = self.expected = self.killed = self.was_up = False
        self.failure: Failed | None = None
        self.term_at = self.kill_at = self.give_up_at = _NEVER

    @property
    def process(self) -> ProcessHandle:
        """The worker's process."""
        return self.child.process

    @property
    def pid(self) -> int:
        """The worker's process id; 0 while it waits to be forked."""
        return self.child.process.pid

    @property
    def due_at(self) -> float:
        """When the next signal to the worker is due, or the wait for its exit status ends."""
        return min(self.term_at, self.kill_at, self.give_up_at)

    def connect(self, poller: Poller, on_message: Callable[[bytes], None]) -> None:
        """Register the worker's socket and output with the poller; called once, before anything is sent.

        Args:
            poller: the supervisor's poller.
            on_message: called with each message of the worker.
        """
        self.connection = Connection(self.child, poller, on_message, self.cut_off)

    def greet(self) -> None:
        """Note that the worker has booted."""
        self.state, self.was_up = "up", True
        self.progressed_at = self._clock.now

    def retire(self) -> None:
        """Ask the worker to end, if it is up."""
        if self.state == "up":
            self.state, self.expected = "stopping", True
            self.term_at = self._clock.now + self._patience.stop
            self.connection.send(frame(Stop()))

    def kill(self, why: str) -> None:
        """End the worker because it is stuck or overdue: send SIGTERM, and SIGKILL after a while."""
        if not self.why and self.state != "dying":
            self.why, self.killed = why, True
            self.terminate()

    def terminate(self) -> None:
        """Send SIGTERM, and SIGKILL after a while."""
        self.term_at = _NEVER
        self.kill_at = min(self.kill_at, self._clock.now + self._patience.term)
        self.process.send_signal(signal.SIGTERM)

    def cut_off(self, why: str) -> None:
        """Note that the worker's socket has ended, or was closed because of what the worker sent (`why`)."""
        if why:
            # Nothing that the worker says from now on counts, so it is killed without SIGTERM.
            self.why = self.why or why
            self.process.send_signal(signal.SIGKILL)
        self._lose()

    def check(self) -> None:
        """Kill the worker if it is overdue, or else send a ping. Called at each tick."""
        if self.state == "dying":
            return
        if self.exited:
            # All that it sent has been read, and yet the stream has no end. A child that the host forked just when
            # the worker was made holds the worker's end of the socket.
            self._lose()
            return
        self.exited = self.process.exit() is not None
        why = "" if self.exited else self._overdue()
        if why:
            self.kill(why)
        elif self.pid and self.state in ("booting", "up"):
            self.connection.send(frame(Ping()))

    def escalate(self) -> ExitStatus | None:
        """Send the signals that are due; returns the exit status once the worker has ended or was given up."""
        now = self._clock.now
        if now >= self.term_at:
            self.terminate()
        if now >= self.kill_at:
            self.kill_at, self.give_up_at = _NEVER, now + self._patience.give_up
            self.process.send_signal(signal.SIGKILL)
        overdue = now >= self.give_up_at
        if overdue and self.state != "dying":
            self._lose()
        if self.state != "dying":
            return None
        status = self.process.exit()
        return ExitStatus() if status is None and overdue else status

    def end(self, status: ExitStatus, closing: bool) -> Death:
        """Close the host's ends.

        Args:
            status: how the process has ended.
            closing: whether all workers were to end.

        Returns:
            How the worker has ended.
        """
        self.child.output.drain()
        death = Death(status, self.child.output.text, self.why, self.expected or closing)
        self.child.close()
        return death

    def _lose(self) -> None:
        """Stop reading from the worker. It is killed if its exit status takes longer than a moment."""
        self.state = "dying"
        self.kill_at = min(self.kill_at, self._clock.now + self._patience.linger)
        self.connection.cut()

    def _overdue(self) -> str:
        """Say what the worker has not done in time, or ``""``."""
        now, patience = self._clock.now, self._patience
        if self.state == "booting" and now >= self.progressed_at + patience.boot:
            return f"it was not up within {patience.boot} s"
        if not self.pid:
            # The worker waits to be forked, and cannot answer yet.
            self.answered_at = now
        silent = patience.silent_boot if self.state == "booting" else patience.silent
        if self.state in ("booting", "up") and now >= self.answered_at + silent:
            return f"it has not answered for {silent} s: it is stopped, or native code keeps its interpreter lock"
        if self.state == "up" and now >= self.progressed_at + patience.stuck:
            return f"it has made no progress for {patience.stuck} s"
        return ""
