"""Checks requests that are too large for an event loop, on a thread that is there while there are some."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .._checks.normalize import normalize
from .._data.errors import InvalidRequest, PoolinferError
from .._data.requests import Request
from .._system.threads import OwnThread
from .admission import Admission
from .ticket import Ticket

if TYPE_CHECKING:
    from .model import Model


def finish_check(request: Request, whole: bool, model: Model | None) -> Request:
    """Check what is left of a request after `normalize_at_once` (nothing if that was the `whole`), and its model.

    Raises:
        InvalidRequest: a field is not acceptable, or the model cannot do this.
    """
    checked = request if whole else normalize(request)
    if model is not None:
        model.check(checked)
    return checked


class Checker:
    """Checks one request after the other: several threads at it would keep an event loop from its turn.

    Args:
        queue: where calls wait whose requests are yet to be checked.
        lock: guards it.
        end: ends a call whose request is refused.
        go: gives calls to the executor, when one more may be given.
    """

    def __init__(
        self,
        queue: Admission,
        lock: AbstractContextManager[Any],
        end: Callable[[Ticket, PoolinferError], object],
        go: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._lock = lock
        self._end = end
        self._go = go
        self._thread: OwnThread | None = None

    def work(self) -> None:
        """See that there is a thread if there is something to check; called by the conductor alone."""
        with self._lock:
            if self._queue.unchecked() is None or self._thread is not None:
                return
            thread = OwnThread(self._run, "poolinfer-checker")
            thread.start()
            self._thread = thread

    def join(self) -> None:
        """Wait for the thread, which skips calls that have ended."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                ticket = self._queue.unchecked()
                if ticket is None:
                    self._thread = None
                    return
            self._settle(ticket, ticket.job.request if ticket.ended else _verdict(ticket))

    def _settle(self, ticket: Ticket, verdict: Request | PoolinferError) -> None:
        """Let a call wait like the others, or end it with why its request is refused."""
        with self._lock:
            waits = self._queue.discard(ticket) and not ticket.ended
            if waits and not isinstance(verdict, PoolinferError):
                ticket.checked(verdict)
                self._queue.push(ticket)
        if isinstance(verdict, PoolinferError):
            self._end(ticket, verdict)
        else:
            self._go()


def _verdict(ticket: Ticket) -> Request | PoolinferError:
    if ticket.check is None:
        return ticket.job.request
    try:
        return ticket.check()
    except PoolinferError as error:
        return error.with_traceback(None)
    except Exception as error:
        return InvalidRequest(
            f"the request cannot be read ({error!r}): do not change its lists and dicts while the call waits",
            field="request",
        )
