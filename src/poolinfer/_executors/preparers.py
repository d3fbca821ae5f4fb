"""Threads that prepare requests: one for ordinary requests, one for large ones, and one that ends those given up.

    put ──> ordinary ──> thread ──> prepare
       └──> large ─────> thread ──> prepare
                │ withdraw, close
                └──────> thread ──> refuse

A request of megabytes of text keeps a preparer busy for seconds. It delays only large ones, and those that wait
behind it can end at any time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar

from .._data.requests import Chat, Raw, Request
from .._data.text_requests import Embed, Rerank
from .._system.threads import OwnThread

_T = TypeVar("_T")
#: More characters than this are a large request; the tokenizer takes a fiftieth of a second for them.
_LARGE = 16 * 1024


class Preparers(Generic[_T]):
    """Three queues with a thread each. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._ordinary: _Queue[_T] = _Queue()
        self._large: _Queue[_T] = _Queue()
        self._refused: _Queue[_T] = _Queue()
        self._moving = threading.Lock()

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
        """Have an item refused, unless its preparation has begun."""
        # Under a lock, so that nothing is on its way from one queue to the other when they are closed.
        with self._moving:
            if self._ordinary.remove(item) or self._large.remove(item):
                self._refused.put(item)

    def close(self) -> None:
        """Have what waits refused, and let the threads end. Nothing may be put any more."""
        with self._moving:
            for item in [*self._ordinary.drain(), *self._large.drain()]:
                self._refused.put(item)
            for queue in (self._ordinary, self._large, self._refused):
                queue.close()


class _Queue(Generic[_T]):
    """A queue whose items can be taken back: first in, first out."""

    def __init__(self) -> None:
        self._items: deque[_T] = deque()
        # Rings once for each item, and once more at the end.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._closed = False

    def put(self, item: _T) -> None:
        self._items.append(item)
        self._bell.put(None)

    def remove(self, item: _T) -> bool:
        """Take an item back; False when it has been taken."""
        try:
            self._items.remove(item)
        except ValueError:
            return False
        return True

    def drain(self) -> list[_T]:
        """Take all items back."""
        found: list[_T] = []
        with suppress(IndexError):
            while True:
                found.append(self._items.popleft())
        return found

    def close(self) -> None:
        """Let `serve` return, after what waits."""
        self._closed = True
        self._bell.put(None)

    def serve(self, work: Callable[[_T], None]) -> None:
        """Work on one item after the other, until closed."""
        while True:
            self._bell.get()
            try:
                item = self._items.popleft()
            except IndexError:
                if self._closed:
                    return
                continue
            work(item)
            # Not kept while this waits for the next one.
            del item


def is_large(request: Request) -> bool:
    """Whether a request takes long to prepare."""
    if isinstance(request, Raw):
        return len(request.prompt) > _LARGE
    left = _LARGE
    for size in _sizes(_contents(request)):
        left -= size
        if left < 0:
            return True
    return False


def _contents(request: Request) -> object:
    """The fields of a request that may be large; all fields of a request type that has no line here."""
    if isinstance(request, Chat):
        return request.prompt, request.tools, request.chat_template_kwargs
    if isinstance(request, Embed):
        return request.input
    if isinstance(request, Rerank):
        return request.query, request.documents
    return [getattr(request, item.name) for item in fields(request)]


def _sizes(data: object) -> Iterator[int]:
    """How many characters each value in nested data has, and one more for each value."""
    if isinstance(data, str):
        yield 1 + len(data)
        return
    yield 1
    values = data.values() if isinstance(data, Mapping) else data if isinstance(data, list | tuple) else ()
    for value in values:
        yield from _sizes(value)
