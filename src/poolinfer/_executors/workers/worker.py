"""What a supervisor knows of one worker: its state, when it is to be killed, and how it ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..._data.errors import ModelError, PoolinferError, WorkerLost
from ..._data.events import Failed
from .child_process import Child, Exit, ProcessHandle
from .connection import Connection
from .restarts import RestartPolicy

_NEVER = float("inf")
_LONGEST_STEP = 2.0

WorkerState: TypeAlias = Literal["booting", "up", "stopping", "dying"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a supervisor waits, in seconds.

    Attributes:
        boot: for a worker to be up.
        stuck: for a worker's next sign of progress.
        silent: for its next message, since it answers each ping. Less than `stuck`, which a slow step may take:
            only a worker that was stopped, or C code that keeps the interpreter lock, says nothing for so long. Not
            less than this: a machine that swaps may leave a process alone for seconds.
        silent_boot: likewise, while it boots, when it loads libraries under the interpreter lock.
        stop: for a worker to end when asked, before SIGTERM.
        term: from SIGTERM to SIGKILL.
        linger: from the end of a worker's socket to SIGKILL.
        give_up: from SIGKILL until a process that the system cannot end is left behind.
        tick: between looks at the clock, and pings.
        restarts: how often workers may die.
    """

    boot: float = 600.0
    stuck: float = 60.0
    silent: float = 10.0
    silent_boot: float = 60.0
    stop: float = 3.0
    term: float = 1.0
    linger: float = 1.0
    give_up: float = 10.0
    tick: float = 1.0
    restarts: RestartPolicy = field(default_factory=RestartPolicy)


class PatientClock:
    """Monotonic seconds that stand still while the whole host is stopped (Ctrl-Z, a suspended machine).

    Otherwise every worker would seem to have been silent for all that time.

    Attributes:
        now: the seconds at the last `tick`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self.now = self._last

    def tick(self) -> None:
        """Look at the real clock."""
        last, self._last = self._last, self._clock()
        self.now += min(self._last - last, _LONGEST_STEP)


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended.

    Attributes:
        status: its exit status.
        tail: the last of what it printed.
        why: why it was ended by us, or ``""``.
        expected: whether it ended by our wish.
    """

    status: Exit
    tail: str
    why: str = ""
    expected: bool = False

    @property
    def from_outside(self) -> bool:
        """Whether somebody else killed it: an operator, a system that stops, or the out-of-memory killer."""
        return not self.why and self.status.signal in (signal.SIGKILL, signal.SIGTERM)

    def __str__(self) -> str:
        if self.why:
            return self.why
        if self.status.signal is not None:
            hint = " (out of memory?)" if self.status.signal == signal.SIGKILL else ""
            return f"killed by {_signal_name(self.status.signal)}{hint}"
        return "exit status " + ("unknown" if self.status.code is None else str(self.status.code))

    def lost(self, suspect: bool) -> WorkerLost:
        """What a call gets that was running; `suspect`: it is the second worker that this call has lost."""
        why = ". It is the second worker lost with this call, which is not run again" if suspect else ""
        return WorkerLost(
            f"the worker that ran the call is lost: {self}{why}",
            exitcode=self.status.code,
            signal=self.status.signal,
            stderr_tail=self.tail,
            suspect=suspect,
        )

    def boot_error(self, failure: Failed | None) -> PoolinferError:
        """Why it did not boot, in an error: what it said itself, or else how it ended."""
        what = failure.message if failure is not None else f"a worker died while it loaded the model: {self}"
        return ModelError(f"{what}\n{self.tail}" if self.tail else what)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
