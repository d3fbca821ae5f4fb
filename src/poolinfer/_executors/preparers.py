"""Who prepares requests: a thread for ordinary ones, one for large ones, and one that ends those given up.

    put ──> ordinary ──> thread ──> prepare
       └──> large ─────> thread ──> prepare
                │ withdraw, close
                └──────> thread ──> refuse

A request that makes a preparer work for long (megabytes of text) delays others of its size and no more, and those
that wait behind it can end at any time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Generic, TypeVar

from .._requests import Chat, Embed, Raw
from .._threads import OwnThread

_T = TypeVar("_T")
# Characters: a fiftieth of a second for the tokenizer.
_LARGE = 16 * 1024


class Preparers(Generic[_T]):
    """Three queues with a thread each. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._ordinary: _Queue[_T] = _Queue()
        self._large: _Queue[_T] = _Queue()
        self._refused: _Queue[_T] = _Queue()

    def threads(self, prepare: Callable[[_T], None], refuse: Callable[[_T], None]) -> list[OwnThread]:
        """The threads, to be started.

        Args:
            prepare: called with each item, in the order in which those of its size were put.
            refuse: called with what was withdrawn, or waited when it was closed.
        """
        return [
            OwnThread(partial(self._ordinary.serve, prepare), "poolinfer-prepare"),
            OwnThread(partial(self._large.serve, prepare), "poolinfer-prepare-large"),
            OwnThread(partial(self._refused.serve, refuse), "poolinfer-refuse"),
        ]

    def put(self, item: _T, *, large: bool) -> None:
        """Have an item prepared."""
        (self._large if large else self._ordinary).put(item)

    def withdraw(self, item: _T) -> None:
        """Have an item refused, unless it is being prepared, or was."""
        if self._ordinary.remove(item) or self._large.remove(item):
            self._refused.put(item)

    def close(self) -> None:
        """Refuse what waits, and let the threads end. Nothing may be put any more."""
        for queue in (self._ordinary, self._large):
            for item in queue.close():
                self._refused.put(item)
        self._refused.close(drop=False)


class _Queue(Generic[_T]):
    """First in, first out; what is in it can be taken back."""

    def __init__(self) -> None:
        self._items: deque[_T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: _T) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def remove(self, item: _T) -> bool:
        """Take an item back; False when it has been taken."""
        with self._changed:
            if item not in self._items:
                return False
            self._items.remove(item)
            return True

    def close(self, *, drop: bool = True) -> list[_T]:
        """Let `serve` return, after what waits, or at once; what waits is returned then."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            left = list(self._items) if drop else []
            if drop:
                self._items.clear()
            return left

    def serve(self, work: Callable[[_T], None]) -> None:
        """Work on one item after the other, until closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._closed)
                if not self._items:
                    return
                item = self._items.popleft()
            work(item)
            # Not kept while this waits for the next one.
            del item


def is_large(request: Chat | Raw | Embed) -> bool:
    """Whether it takes long to prepare."""
    if isinstance(request, Raw):
        return len(request.prompt) > _LARGE
    data = request.input if isinstance(request, Embed) else (request.prompt, request.tools)
    left = _LARGE
    for size in _sizes(data):
        left -= size
        if left < 0:
            return True
    return False


def _sizes(data: object) -> Iterator[int]:
    """The characters of nested data, each value being one at least."""
    if isinstance(data, str):
        yield 1 + len(data)
        return
    yield 1
    values = data.values() if isinstance(data, Mapping) else data if isinstance(data, list | tuple) else ()
    for value in values:
        yield from _sizes(value)
