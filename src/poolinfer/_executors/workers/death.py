"""How a worker has ended, and what that means for its calls."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from ..._data.errors import ModelError, PoolinferError, WorkerLost
from ..._data.events import Failed


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended; nothing is known when somebody else reaped it.

    Attributes:
        code: the exit status; None if a signal killed the process, or nothing is known.
        signal: the number of the signal that killed the process; None if it exited, or nothing is known.
    """

    code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended.

    Attributes:
        status: the exit status of its process; unknown where it has none here.
        tail: the last 8 KiB of what it printed.
        why: the reason for which the host ended it; ``""`` if the host did not.
        expected: whether it was asked to end.
    """

    status: ExitStatus
    tail: str
    why: str = ""
    expected: bool = False

    @property
    def from_outside(self) -> bool:
        """Whether somebody but the host killed the worker: an operator, a shutdown, the out-of-memory killer."""
        return not self.why and self.status.signal in (signal.SIGKILL, signal.SIGTERM)

    def __str__(self) -> str:
        if self.why:
            return self.why
        if self.status.signal is not None:
            hint = " (out of memory?)" if self.status.signal == signal.SIGKILL else ""
            return f"killed by {_signal_name(self.status.signal)}{hint}"
        return "exit status " + ("unknown" if self.status.code is None else str(self.status.code))

    def lost(self, suspect: bool) -> WorkerLost:
        """The error of a call that was running.

        Args:
            suspect: whether it is the second worker that this call has lost.
        """
        why = ". It is the second worker lost with this call, which is not run again" if suspect else ""
        return WorkerLost(
            f"the worker that ran the call is lost: {self}{why}",
            exitcode=self.status.code,
            signal=self.status.signal,
            stderr_tail=self.tail,
            suspect=suspect,
        )

    def boot_error(self, failure: Failed | None) -> PoolinferError:
        """The error of a worker that did not boot.

        Args:
            failure: what the worker said itself, if it did.
        """
        what = failure.message if failure is not None else f"a worker died while it loaded the model: {self}"
        return ModelError(f"{what}\n{self.tail}" if self.tail else what)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
