"""`Call`: a caller's handle on one accepted call, for threads, asyncio and trio alike."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar, cast

from typing_extensions import Self

from .._checks.refusals import refuse
from .._data.errors import CallCancelled, PoolinferError, fresh
from .._data.option_names import scalar
from .._data.results import Chunk
from .lifecycle import PoolLifecycle
from .ticket import ReadPosition, Ticket
from .wakers import loop_waker, thread_waker, warn_in_event_loop

_DROPPED = "the call was dropped by its owner"

ResultT_co = TypeVar("ResultT_co", covariant=True)


class Call(Generic[ResultT_co]):
    """One accepted call. Made by ``submit`` and ``stream``; may be used from any thread and event loop.

    Wait with ``call.result()`` or ``await call``; read the chunks of its answer with ``for`` or ``async for``.
    These cancel the call at once: leaving a ``with call:`` block, dropping an iterator half way, cancelling the
    task that awaits the call, Ctrl-C while waiting, and dropping the call itself.

    A call has the methods with which a `concurrent.futures.Future` is read; `poolinfer.wait` and
    `poolinfer.as_completed` take several calls. A call is an awaitable, but no coroutine: `asyncio.gather`,
    `asyncio.wait_for`, `asyncio.shield` and `asyncio.ensure_future` take it. `asyncio.create_task` takes only
    coroutines; give it ``achat(..)`` and the like.
    """

    __slots__ = ("__weakref__", "_lifecycle", "_pool", "_ticket")

    def __init__(self, ticket: Ticket, lifecycle: PoolLifecycle, pool: object) -> None:
        self._lifecycle = lifecycle
        # A pool that nobody holds any more is closed, but not as long as somebody holds one of its calls.
        self._pool = pool
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
            timeout: most seconds to wait; None for no bound. The call itself goes on when they are over.

        Raises:
            TimeoutError: `timeout` passed first.
            CallError: how the call failed (`CallCancelled`, `DeadlineExceeded`, `WorkerLost`, `EngineError`).
            InvalidRequest: the request does not fit the model (`ContextOverflow`, say), or `timeout` is no number.
            PoolError: the pool closed or broke before the call ended.
        """
        self._wait_in_thread(timeout, "`await call`")
        return self._outcome()

    def exception(self, timeout: float | None = None) -> PoolinferError | None:
        """Wait for the call's end and return the error that `result` would raise, or None if it ended well.

        Args:
            timeout: most seconds to wait; None for no bound. The call itself goes on when they are over.

        Raises:
            TimeoutError: `timeout` passed first.
        """
        self._wait_in_thread(timeout, "`await call`")
        error = self._ticket.error
        return None if error is None else fresh(error)

    def add_done_callback(self, callback: Callable[[Call[Any]], object]) -> None:
        """Have a function called with this call when the call has ended, or soon if it has already.

        All callbacks of a pool run one after the other, on a thread that does nothing else. What a callback
        raises is logged; where the host has set up no log, it goes to `threading.excepthook`, which prints it. A
        call that has a callback is not cancelled by being dropped. `Pool.close` waits for callbacks, and may not
        be called in one.

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
        """The result, for a sync method; `instead` is its async twin, which a warning in an event loop names."""
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
        return _Chunks(self)

    def __aiter__(self) -> AsyncIterator[Chunk]:
        self._lifecycle.check_process()
        return _Chunks(self)

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


class _Chunks:
    """Reads the chunks of a call from its start, for ``for`` and for ``async for``; cancels it if dropped half way.

    The two differ in how they wait, and in how they say that there are no more: everything else is `_take`.
    """

    _over = True  # so that a reader which Ctrl-C left half made does nothing when it is dropped

    def __init__(self, call: Call[object]) -> None:
        self._call = call
        self._ticket = call._ticket
        self._cursor = ReadPosition()
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        while (chunk := self._take(StopIteration)) is None:
            warn_in_event_loop("`async for`")
            event, wake = thread_waker()
            if self._ticket.wake_at_news(self._cursor, wake):
                try:
                    event.wait(bounded(None))
                except BaseException:
                    self._call.cancel()
                    raise
        return chunk

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while (chunk := self._take(StopAsyncIteration)) is None:
            event, wake = loop_waker()
            if self._ticket.wake_at_news(self._cursor, wake):
                try:
                    await event.wait()
                except BaseException:
                    self._call.cancel()
                    raise
        return chunk

    def _take(self, stop: type[Exception]) -> Chunk | None:
        """What came since the last chunk, or None. After the end raises the call's error, once, and then `stop`."""
        self._call._lifecycle.check_process()
        if self._over:
            raise stop
        # Looked at before the text: a call that ends in between has more to read.
        ended = self._ticket.ended
        chunk = self._ticket.read(self._cursor)
        if chunk is None and ended:
            self._over = True
            raise stop if self._ticket.error is None else fresh(self._ticket.error)
        return chunk

    def __del__(self) -> None:
        if not self._over and not self._ticket.ended:
            self._call._lifecycle.cancel(self._ticket, _DROPPED)


def check_timeout(timeout: object) -> None:
    """Refuse what is no number of seconds to wait; a number below 0 counts as 0, as it does for futures.

    Raises:
        InvalidRequest: `timeout` is neither None nor a number.
    """
    given = scalar(timeout)
    if given is not None and (
        not isinstance(given, int | float) or isinstance(given, bool) or math.isnan(given)
    ):
        refuse("timeout", timeout, "use None or a number of seconds")


def bounded(timeout: float | None) -> float:
    """The seconds to give to `threading`: without a bound, Ctrl-C would not end the wait on every platform."""
    return threading.TIMEOUT_MAX if timeout is None else float(max(0.0, min(timeout, threading.TIMEOUT_MAX)))
