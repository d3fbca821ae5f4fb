"""Checks requests that are too large for an event loop, on a thread that lives as long as there are some."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .._checks.normalize import normalize
from .._data.errors import InvalidRequest, PoolinferError
from .._data.requests import Request
from .._system.threads import OwnThread
from .admission import Admission
from .model_info import ModelInfo
from .ticket import Ticket


def finish_check(request: Request, whole: bool, model: ModelInfo | None) -> Request:
    """Check what `normalize_at_once` has left of a request, and whether the model can do it.

    Args:
        request: the request, as far as it was checked.
        whole: whether all of it was checked.
        model: the pool's model, or None.

    Raises:
        InvalidRequest: a field is not acceptable, or the model cannot do this.
    """
    checked = request if whole else normalize(request)
    if model is not None:
        model.check(checked)
    return checked


class RequestChecker:
    """Checks one request after the other: several threads would keep an event loop waiting for its turn.

    Args:
        queue: where calls wait, also those whose requests are not checked yet.
        lock: guards `queue`.
        end: ends a call whose request is refused.
        dispatch: gives waiting calls to the executor; called after each request that was accepted.
    """

    def __init__(
        self,
        queue: Admission,
        lock: AbstractContextManager[Any],
        end: Callable[[Ticket, PoolinferError], object],
        dispatch: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._lock = lock
        self._end = end
        self._dispatch = dispatch
        self._thread: OwnThread | None = None

    def work(self) -> None:
        """Start the thread if there is something to check and no thread; called by the conductor alone."""
        with self._lock:
            if self._queue.unchecked() is None or self._thread is not None:
                return
            thread = OwnThread(self._run, "poolinfer-checker")
            thread.start()
            self._thread = thread

    def join(self) -> None:
        """Wait for the thread, which checks nothing for calls that have ended."""
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
        """Let a call wait like the others, with its checked request, or end it with the error of the check."""
        with self._lock:
            waits = self._queue.discard(ticket) and not ticket.ended
            if waits and not isinstance(verdict, PoolinferError):
                ticket.checked(verdict)
                self._queue.push(ticket)
        if isinstance(verdict, PoolinferError):
            self._end(ticket, verdict)
        else:
            self._dispatch()


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
