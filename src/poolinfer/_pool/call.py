"""`Call`: a caller's handle on one accepted call, for threads, asyncio and trio alike."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from typing_extensions import Self

from .._checks.refusals import refuse
from .._data.errors import CallCancelled, fresh
from .._data.option_names import scalar
from .ticket import Cursor, Ticket
from .wakers import loop_waker, thread_waker, warn_in_event_loop

if TYPE_CHECKING:
    from .._data.errors import PoolinferError
    from .._data.results import Chunk
    from .lifecycle import PoolLifecycle

_DROPPED = "the call was dropped by its owner"

ResultT_co = TypeVar("ResultT_co", covariant=True)


class Call(Generic[ResultT_co]):
    """One accepted call. Made by ``submit`` and ``stream``; may be used from any thread and event loop.

    Wait with ``call.result()`` or ``await call``; read pieces with ``for`` or ``async for``. Leaving a
    ``with call:`` block, dropping an iterator half way, cancelling the awaiting task, Ctrl-C while waiting,
    and dropping the call itself all cancel the work at once.

    Has what one reads of a `concurrent.futures.Future`, and of several at a time: `poolinfer.wait`,
    `poolinfer.as_completed`. It is an awaitable and no coroutine: `asyncio.gather`, `asyncio.wait_for`,
    `asyncio.shield` and `asyncio.ensure_future` take it; for `asyncio.create_task`, which takes coroutines only,
    use ``achat(..)`` and the like.
    """

    __slots__ = ("__weakref__", "_keep", "_lifecycle", "_ticket")

    def __init__(self, ticket: Ticket, lifecycle: PoolLifecycle, keep: object) -> None:
        self._lifecycle = lifecycle
        self._keep = keep
        self._ticket = ticket

    @property
    def partial(self) -> str:
        """The text so far.

        Raises:
            ForkedPool: this process was forked from the pool's owner.
        """
        self._lifecycle.check_process()
        return self._ticket.text

    def done(self) -> bool:
        """Whether the call has ended, well or badly."""
        return self._ticket.ended

    def cancelled(self) -> bool:
        """Whether the call has ended with `CallCancelled`: by `cancel`, or because its pool was closed."""
        return isinstance(self._ticket.error, CallCancelled)

    def cancel(self) -> None:
        """End the call with `CallCancelled`, unless it has ended; its slot is freed within one engine step.

        Only asks, and returns at once: the call ends a moment later. May be called from a signal handler.
        """
        self._lifecycle.cancel(self._ticket)

    def result(self, timeout: float | None = None) -> ResultT_co:
        """Wait for the call's end and return its result.

        Args:
            timeout: seconds to wait here; the call itself goes on when they are over.

        Raises:
            TimeoutError: `timeout` passed first.
            CallError: how the call failed (`CallCancelled`, `DeadlineExceeded`, `WorkerLost`, `EngineError`).
            InvalidRequest: it does not fit the model (`ContextOverflow`, say), or `timeout` is no number.
            PoolError: the pool closed or broke before the call ended.
        """
        self._wait_in_thread(timeout, "`await call`")
        return self._outcome()

    def exception(self, timeout: float | None = None) -> PoolinferError | None:
        """Wait for the call's end and return the error that `result` would raise, or None if it ended well.

        Args:
            timeout: seconds to wait here; the call itself goes on when they are over.

        Raises:
            TimeoutError: `timeout` passed first.
        """
        self._wait_in_thread(timeout, "`await call`")
        error = self._ticket.error
        return None if error is None else fresh(error)

    def add_done_callback(self, callback: Callable[[Call[Any]], object]) -> None:
        """Have a function called with this call when it has ended, or soon if it has.

        All callbacks of a pool run one after the other, on a thread that is there for nothing else. What they
        raise is logged, and where nobody has set a log up it goes to `threading.excepthook`, which prints it. A
        call that has one is not cancelled by being dropped. `Pool.close` waits for callbacks, and may not be
        called in one.

        Raises:
            InvalidRequest: `callback` cannot be called.
        """
        if not callable(callback):
            refuse("callback", callback, "give a function that takes the call")
        self._lifecycle.check_process()
        callbacks = self._lifecycle.callbacks
        callbacks.prepare()

        def wake() -> None:
            callbacks.run(lambda: callback(self))

        if not self._ticket.wake_at_end(wake):
            wake()

    def _wait_in_thread(self, timeout: float | None, instead: str) -> None:
        """Block this thread until the call has ended."""
        check_timeout(timeout)
        self._lifecycle.check_process()
        if timeout != 0 and not self._ticket.ended:
            warn_in_event_loop(instead)
        event, wake = thread_waker()
        if self._ticket.wake_at_end(wake):
            try:
                if not event.wait(bounded(timeout)):
                    self._ticket.forget(wake)
                    raise TimeoutError(f"the call did not end within {timeout} s; it goes on")
            except TimeoutError:
                raise
            except BaseException:
                self.cancel()
                raise

    def _answer(self, instead: str) -> ResultT_co:
        """`result`, for a sync call whose async twin is `instead`."""
        self._wait_in_thread(None, instead)
        return self._outcome()

    def __await__(self) -> Generator[Any, None, ResultT_co]:
        return self._wait().__await__()

    async def _wait(self) -> ResultT_co:
        self._lifecycle.check_process()
        event, wake = loop_waker()
        if self._ticket.wake_at_end(wake):
            try:
                await event.wait()
            except BaseException:
                self.cancel()
                raise
        return self._outcome()

    def __iter__(self) -> Iterator[Chunk]:
        self._lifecycle.check_process()
        return _Pieces(self)

    def __aiter__(self) -> AsyncIterator[Chunk]:
        self._lifecycle.check_process()
        return _AsyncPieces(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        # Runs at any point of any thread, so it may take no lock: the pool's own thread does the rest.
        ticket = getattr(self, "_ticket", None)
        if ticket is not None and not ticket.ended:
            self._lifecycle.cancel(ticket, _DROPPED)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Call belongs to its process and cannot be pickled or copied; send its result instead"
        )

    def __repr__(self) -> str:
        ticket = self._ticket
        if not ticket.ended:
            state = "running" if ticket.started else "waiting"
        else:
            state = type(ticket.error).__name__ if ticket.error is not None else "done"
        return f"<Call {ticket.job.id} {type(ticket.job.request).__name__.lower()} {state}>"

    def _outcome(self) -> ResultT_co:
        if self._ticket.error is not None:
            raise fresh(self._ticket.error)
        return cast("ResultT_co", self._ticket.result)


class _Reader:
    """Reads one call from its start; dropped half way, it cancels the call."""

    _over = True  # so that one which Ctrl-C left half made goes quietly

    def __init__(self, call: Call[object]) -> None:
        self._call = call
        self._ticket = call._ticket
        self._cursor = Cursor()
        self._over = False

    def _next(self) -> Chunk | None:
        """The next piece, or None when there is nothing yet. Ends with the call's error, if it has one."""
        self._call._lifecycle.check_process()
        ended = self._ticket.ended
        chunk = None if self._over else self._ticket.read(self._cursor)
        if chunk is None and ended:
            if not self._over and self._ticket.error is not None:
                self._over = True
                raise fresh(self._ticket.error)
            self._over = True
        return chunk

    def __del__(self) -> None:
        if not self._over and not self._ticket.ended:
            self._call._lifecycle.cancel(self._ticket, _DROPPED)


class _Pieces(_Reader):
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        while True:
            chunk = self._next()
            if chunk is not None:
                return chunk
            if self._over:
                raise StopIteration
            warn_in_event_loop("`async for`")
            event, wake = thread_waker()
            if self._ticket.wake_at_news(self._cursor, wake):
                try:
                    event.wait(bounded(None))
                except BaseException:
                    self._call.cancel()
                    raise


class _AsyncPieces(_Reader):
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while True:
            chunk = self._next()
            if chunk is not None:
                return chunk
            if self._over:
                raise StopAsyncIteration
            event, wake = loop_waker()
            if self._ticket.wake_at_news(self._cursor, wake):
                try:
                    await event.wait()
                except BaseException:
                    self._call.cancel()
                    raise


def check_timeout(timeout: object) -> None:
    """Refuse what is no number of seconds to wait; a number below 0 is 0, as it is for futures."""
    given = scalar(timeout)
    if given is not None and (
        not isinstance(given, int | float) or isinstance(given, bool) or math.isnan(given)
    ):
        refuse("timeout", timeout, "use None or a number of seconds")


def bounded(timeout: float | None) -> float:
    """Seconds to wait; a bound that never matters keeps Ctrl-C working on every platform."""
    return threading.TIMEOUT_MAX if timeout is None else float(max(0.0, min(timeout, threading.TIMEOUT_MAX)))
