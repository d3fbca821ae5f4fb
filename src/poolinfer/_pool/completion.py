"""Waiting for several calls at a time: `wait`, `as_completed`, and `EndedCalls`, which `map` waits with as well."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import anyio
from typing_extensions import Self

from .._checks.refusals import refuse
from .call import Call, bounded, check_timeout
from .wakers import Wake, loop_waker, thread_waker, warn_in_event_loop

ResultT = TypeVar("ResultT")


class EndedCalls:
    """The numbers of watched calls, in the order in which they end. One thread or task waits for them.

    Holds numbers and not calls: a call that its owner drops must be cancelled, watched or not.
    """

    def __init__(self) -> None:
        self._ended: deque[int] = deque()
        self._wake: Wake | None = None

    def watch(self, number: int, call: Call[Any]) -> Wake:
        """Note a number when a call ends; returns what `Ticket.forget` takes to undo that."""
        note = partial(self.note, number)
        if not call._ticket.wake_at_end(note):
            note()
        return note

    def note(self, number: int) -> None:
        """Note that what has this number has ended; called on any thread."""
        self._ended.append(number)
        wake = self._wake
        if wake is not None:
            wake()

    def take(self) -> int | None:
        """The number that was noted next, or None."""
        return self._ended.popleft() if self._ended else None

    def wait(self, timeout: float | None = None) -> None:
        """Block this thread until there is something to take, or for `timeout` seconds."""
        event, self._wake = thread_waker()
        # A call that ended before `_wake` was set has woken nobody, and is seen here.
        if not self._ended:
            event.wait(bounded(timeout))
        self._wake = None

    async def wait_async(self, timeout: float | None = None) -> None:
        """`wait` for async code."""
        event, self._wake = loop_waker()
        if not self._ended:
            with anyio.move_on_after(timeout):
                await event.wait()
        self._wake = None


class AsCompleted(Generic[ResultT], Iterator[Call[ResultT]], AsyncIterator[Call[ResultT]]):
    """What `as_completed` returns: an iterator, sync and async."""

    def __init__(
        self, calls: Iterable[Call[ResultT]], timeout: float | None, instead: str = "`async for`"
    ) -> None:
        check_timeout(timeout)
        self._open: dict[int, Call[ResultT]] = dict(enumerate(dict.fromkeys(_checked(calls))))
        self._instead = instead
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._ended = EndedCalls()
        self._notes: dict[int, Wake] = {}
        for number, call in self._open.items():
            call._lifecycle.check_process()
            self._notes[number] = self._ended.watch(number, call)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Call[ResultT]:
        while self._open:
            if (found := self._take()) is not None:
                return found
            warn_in_event_loop(self._instead)
            self._ended.wait(self._left())
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Call[ResultT]:
        while self._open:
            if (found := self._take()) is not None:
                return found
            await self._ended.wait_async(self._left())
        raise StopAsyncIteration

    def _take(self) -> Call[ResultT] | None:
        number = self._ended.take()
        return None if number is None else self._open.pop(number)

    def forget(self) -> None:
        """Take the watch off calls that go on: a host that asks for them again and again would pile watches up."""
        for number, call in self._open.items():
            call._ticket.forget(self._notes[number])

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            self.forget()
            raise TimeoutError(f"{len(self._open)} calls did not end within {self._timeout} s; they go on")
        return left


def as_completed(calls: Iterable[Call[ResultT]], timeout: float | None = None) -> AsCompleted[ResultT]:
    """Calls as they end, for ``for`` in sync code and for ``async for`` in async code (asyncio and trio).

    Args:
        calls: calls of any pools; a call that is given twice comes once.
        timeout: seconds, from now, within which all calls must have ended; None for no bound.

    Raises:
        InvalidRequest: `calls` is a single call, or holds something that is no call.
        TimeoutError: raised by the iterator: `timeout` passed first. The calls go on.
    """
    return AsCompleted(calls, timeout)


class DoneAndNotDone(NamedTuple):
    """What `wait` found.

    Attributes:
        done: calls that have ended.
        not_done: the others, which go on.
    """

    done: set[Call[Any]]
    not_done: set[Call[Any]]


def wait(
    calls: Iterable[Call[Any]], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDone:
    """Wait for several calls, as `concurrent.futures.wait` does. In async code, use `as_completed`, or await them.

    Args:
        calls: calls of any pools.
        timeout: seconds to wait at most; None for no bound.
        return_when: ``"ALL_COMPLETED"``, ``"FIRST_COMPLETED"`` or ``"FIRST_EXCEPTION"``.

    Raises:
        InvalidRequest: `return_when` is none of these; or `calls` is a single call, or holds something that is no
            call.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        refuse("return_when", return_when, "use 'ALL_COMPLETED', 'FIRST_COMPLETED' or 'FIRST_EXCEPTION'")
    not_done = set(_checked(calls))
    done = {call for call in not_done if call.done()}
    not_done -= done
    pending = AsCompleted(not_done, timeout, "`async for` over `as_completed(..)`, or `await`")
    try:
        while not_done and not _is_enough(done, return_when):
            call = next(pending)
            done.add(call)
            not_done.remove(call)
    except TimeoutError:
        pass
    finally:
        pending.forget()
    return DoneAndNotDone(done, not_done)


def _checked(calls: Iterable[Call[ResultT]]) -> list[Call[ResultT]]:
    """The calls as a list.

    Raises:
        InvalidRequest: `calls` is a single call, whose iterator would read its text, or holds something that is no
            call.
    """
    if isinstance(calls, Call) or not isinstance(calls, Iterable):
        refuse("calls", calls, "give a list or another iterable of calls; for a single one use its result()")
    found = list(calls)
    for index, call in enumerate(found):
        if not isinstance(call, Call):
            refuse(f"calls[{index}]", call, "use calls, as submit and stream return them")
    return found


def _is_enough(done: set[Call[Any]], return_when: str) -> bool:
    if return_when == FIRST_EXCEPTION:
        return any(call.exception(0) is not None for call in done)
    return return_when == FIRST_COMPLETED and bool(done)
