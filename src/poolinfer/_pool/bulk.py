"""Many calls, of which a bounded number is open at a time: what `map` runs, and `embed` with many texts.

`Bulk` decides what is submitted and what is given out, and when. `run` and `arun` differ only in how they wait.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio

from .._data.errors import PoolError, PoolFull, PoolinferError
from .call import Call
from .completion import EndedCalls
from .wakers import warn_in_event_loop

# Seconds between two tries to submit, while the calls of others fill the queue.
_PAUSE = 0.02


@dataclass(slots=True, eq=False)
class BulkItem:
    """One call of many.

    Attributes:
        index: the item's number among all items, from 0.
        given: what the caller gave: a prompt, a request, or a batch of texts.
        call: the item's call; None until it was accepted.
        error: why the item has no call; None if it was not refused.
    """

    index: int
    given: Any
    call: Call[Any] | None = None
    error: PoolinferError | None = None

    @property
    def ended(self) -> bool:
        """Whether the item has a result or an error."""
        return self.call is None or self.call.done()

    def outcome(self) -> Any:
        """The result of an item that has ended, or its error, which is returned and not raised."""
        if self.call is None:
            return self.error
        error = self.call.exception(0)
        return self.call.result(0) if error is None else error


#: Makes what is given out for an item that has ended; what it raises ends the whole bulk.
ToResult: TypeAlias = Callable[[BulkItem], Any]


class Bulk:
    """The calls of one `map` or `embed`.

    Args:
        source: what to make calls of; read only as far as needed.
        submit: makes a call of one thing from `source`.
        window: says how many calls may be submitted and not yet given out.
        ordered: whether items are given out in the order of `source`; False for the order in which they end.
        patient: whether the first call waits while the queue is full, as later ones do; False to raise `PoolFull`.
        instead: what async code should use, for the warning in an event loop.
        bar: makes a progress bar of tqdm's, which counts the items given out; called when the first is asked for.
    """

    def __init__(
        self,
        source: Iterable[Any],
        *,
        submit: Callable[[Any], Call[Any]],
        window: Callable[[], int],
        ordered: bool,
        patient: bool,
        instead: str,
        bar: Callable[[], Any] | None = None,
    ) -> None:
        self._source = source
        self._submit = submit
        self._window = window
        self._ordered = ordered
        self._patient = patient
        self._instead = instead
        self._make_bar = bar
        self._bar: Any = None
        self._open: dict[int, BulkItem] = {}
        self._ended = EndedCalls()

    def run(self, to_result: ToResult) -> Iterator[Any]:
        """Yield what `to_result` makes of each item. When that raises, the open calls are cancelled."""
        try:
            for step in self._steps():
                if isinstance(step, BulkItem):
                    yield self._result(to_result, step)
                    continue
                warn_in_event_loop(self._instead)
                if step is None:
                    self._ended.wait()
                else:
                    time.sleep(step)
        finally:
            self._end()

    async def arun(self, to_result: ToResult) -> AsyncGenerator[Any]:
        """`run` for async code (asyncio and trio)."""
        try:
            for step in self._steps():
                if isinstance(step, BulkItem):
                    yield self._result(to_result, step)
                elif step is None:
                    await self._ended.wait_async()
                else:
                    await anyio.sleep(step)
        finally:
            self._end()

    def _steps(self) -> Generator[BulkItem | float | None]:
        """What to do next: give out an item, pause for so many seconds, or (None) wait until a call has ended."""
        if self._make_bar is not None:
            self._bar = self._make_bar()
        for index, given in enumerate(self._source):
            while len(self._open) >= self._window():
                yield from self._next()
            item = BulkItem(index, given)
            while not self._accept(item):
                if self._open:
                    yield from self._next()
                else:
                    yield _PAUSE
            if isinstance(item.error, PoolError):
                # The pool takes no more calls. What was accepted is still given out.
                break
        while self._open:
            yield from self._next()

    def _accept(self, item: BulkItem) -> bool:
        """Submit an item, or note why it was refused; False if the queue is full, to be tried again."""
        try:
            item.call = self._submit(item.given)
        except PoolFull:
            if not self._patient and not item.index:
                raise
            return False
        except PoolinferError as error:
            item.error = error
        self._open[item.index] = item
        if item.call is not None:
            self._ended.watch(item.index, item.call)
        else:
            self._ended.note(item.index)
        return True

    def _next(self) -> Generator[BulkItem | None]:
        """Steps up to the next item: wait until it has ended, then give it out."""
        while (item := self._take()) is None:
            yield None
        yield item

    def _take(self) -> BulkItem | None:
        """Take the next item out of the open ones, or None if it has not ended yet."""
        number = self._ended.take()
        if self._ordered:
            # Which call has ended does not matter here, only whether the oldest one has.
            while number is not None:
                number = self._ended.take()
            number = next(iter(self._open))
            if not self._open[number].ended:
                return None
        return None if number is None else self._open.pop(number)

    def _result(self, to_result: ToResult, item: BulkItem) -> Any:
        found = to_result(item)
        if self._bar is not None:
            self._bar.update()
        return found

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
        for item in self._open.values():
            if item.call is not None:
                item.call.cancel()
