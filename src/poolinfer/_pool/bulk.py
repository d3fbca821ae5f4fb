"""Many calls with a bounded number of them open: what `map` does, and `embed` with many texts.

`Bulk` decides what is submitted and what is given out, and when; `run` and `arun` only differ in how they wait.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio

from .._data.errors import PoolError, PoolFull, PoolinferError
from .call import Call
from .completion import Endings
from .wakers import warn_in_event_loop

# Between two tries to submit while others fill the queue.
_PAUSE = 0.02


@dataclass(slots=True, eq=False)
class Item:
    """One call of many.

    Attributes:
        index: its place among them, from 0.
        given: what the caller gave for it.
        call: the call, once accepted.
        error: why there is no call.
    """

    index: int
    given: Any
    call: Call[Any] | None = None
    error: PoolinferError | None = None

    @property
    def ended(self) -> bool:
        """Whether there is a result, or an error."""
        return self.call is None or self.call.done()

    def outcome(self) -> Any:
        """The result, or the error (not raised) of an item that has ended."""
        if self.call is None:
            return self.error
        error = self.call.exception(0)
        return self.call.result(0) if error is None else error


#: What is given out for an item that has ended; raises to end all.
Give: TypeAlias = Callable[[Item], Any]


class Bulk:
    """The calls of one `map` or `embed`.

    Args:
        source: what to make calls of; read only as far as needed.
        submit: makes the call of one of them.
        window: most calls submitted and not yet given out.
        ordered: whether results are given in the order of the source, or as they come.
        patient: whether the first call may wait for room in the queue, as those after it do.
        instead: what async code should use, for the warning in an event loop.
        bar: makes a progress bar (of tqdm's), once there is something to do, which counts what is given out.
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
        self._open: dict[int, Item] = {}
        self._endings = Endings()

    def run(self, give: Give) -> Iterator[Any]:
        """What `give` makes of each item, in sync code; when it raises, the rest is cancelled."""
        try:
            for step in self._steps():
                if isinstance(step, Item):
                    yield self._given(give, step)
                    continue
                warn_in_event_loop(self._instead)
                if step is None:
                    self._endings.wait()
                else:
                    time.sleep(step)
        finally:
            self._end()

    async def arun(self, give: Give) -> AsyncGenerator[Any]:
        """`run` for async code (asyncio and trio)."""
        try:
            for step in self._steps():
                if isinstance(step, Item):
                    yield self._given(give, step)
                elif step is None:
                    await self._endings.wait_async()
                else:
                    await anyio.sleep(step)
        finally:
            self._end()

    def _steps(self) -> Generator[Item | float | None]:
        """What to do next: give out an item, pause for some seconds, or (None) wait until a call has ended."""
        if self._make_bar is not None:
            self._bar = self._make_bar()
        for index, given in enumerate(self._source):
            while len(self._open) >= self._window():
                yield from self._next()
            item = Item(index, given)
            while not self._accept(item):
                if self._open:
                    yield from self._next()
                else:
                    yield _PAUSE
            if isinstance(item.error, PoolError):
                # Nothing more will be accepted. What was is given out first.
                break
        while self._open:
            yield from self._next()

    def _accept(self, item: Item) -> bool:
        """Submit an item, or note why it cannot be; False while others fill the queue."""
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
            self._endings.watch(item.index, item.call)
        else:
            self._endings.note(item.index)
        return True

    def _next(self) -> Generator[Item | None]:
        """Wait for the next item that is to be given out, and give it out."""
        while (item := self._take()) is None:
            yield None
        yield item

    def _take(self) -> Item | None:
        number = self._endings.take()
        if self._ordered:
            while number is not None:
                number = self._endings.take()
            number = next(iter(self._open))
            if not self._open[number].ended:
                return None
        return None if number is None else self._open.pop(number)

    def _given(self, give: Give, item: Item) -> Any:
        found = give(item)
        if self._bar is not None:
            self._bar.update()
        return found

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
        for item in self._open.values():
            if item.call is not None:
                item.call.cancel()
