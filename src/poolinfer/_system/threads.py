"""poolinfer's own threads, with stacks of a known size, whatever the host has set for its threads.

Python has one stack size for the whole process, `threading.stack_size`, which is the host's. It is changed only
while one of our threads starts. A thread that the host starts in that moment gets our stack size, too: more address
space, and no more memory. A size that the host sets in that moment stays, and a fork waits until it is over.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from .._data.errors import PoolBroken

#: Bytes that C code finds on the stack of each of our threads. A page that nobody touches takes no memory.
STACK_SIZE = 16 * 1024 * 1024
_T = TypeVar("_T")
# Reentrant: a signal handler may start a pool, or fork, while the thread that it interrupts starts one.
_starting = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_starting.release
    )


class OwnThread(threading.Thread):
    """A daemon thread of a pool or of its executor.

    Args:
        target: the function that the thread runs.
        name: the thread's name.
        stack: size of the thread's stack in bytes, where the system lets us choose.
        daemon: False to keep the interpreter from ending before the thread does.
    """

    def __init__(
        self, target: Callable[[], object], name: str, *, stack: int = STACK_SIZE, daemon: bool = True
    ) -> None:
        super().__init__(target=target, name=name, daemon=daemon)
        self._stack = stack

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system has no room for another thread.
        """
        with _stack_size(self._stack):
            super().start()


def start_in_pool(thread: OwnThread) -> None:
    """Start a thread without which a pool cannot work.

    Raises:
        PoolBroken: the system has no room for another thread.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise PoolBroken(f"the pool cannot start a thread: {error}") from error


def call_on_stack(function: Callable[[], _T], stack: int, name: str) -> _T:
    """Call a function on a thread of its own with `stack` bytes of stack; return or raise what the function does.

    Raises:
        RuntimeError: the system has no room for such a stack.
    """
    call = _CallOnStack(function)
    thread = OwnThread(call.run, name, stack=stack)
    thread.start()
    thread.join()
    return call.outcome()


class _CallOnStack(Generic[_T]):
    """A call that one thread makes, and whose outcome another thread takes."""

    def __init__(self, function: Callable[[], _T]) -> None:
        self._function = function
        self._result: list[_T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result.append(self._function())
        except BaseException as error:  # it is the caller's, whatever it is
            self._error = error

    def outcome(self) -> _T:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._result.pop()


@contextmanager
def _stack_size(size: int) -> Iterator[None]:
    with _starting:
        theirs: int | None = None
        with suppress(ValueError, RuntimeError):  # a system that has a fixed size, or other bounds
            theirs = threading.stack_size(size)
        try:
            yield
        finally:
            if theirs is not None and (found := threading.stack_size(theirs)) != size:
                # The host has just set another one.
                threading.stack_size(found)
