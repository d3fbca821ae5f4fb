"""How a child process ends with its host, whatever the child is doing: the kernel ends it.

A lifeline is a pipe. Only the host holds the writing end, and it never writes; so the pipe becomes readable when
the host is gone. The kernel then sends the child a signal. A thread of the child that waits for the pipe would not
do: it needs the interpreter lock, which C code may hold for ever.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
from contextlib import suppress


def end_with_host(fd: int) -> None:
    """Have the kernel end this process as soon as the writing end of its lifeline is closed.

    Args:
        fd: the descriptor of the reading end, which stays open for as long as the process lives.
    """
    os.set_inheritable(fd, False)
    _choose_signal(fd)
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if poll.poll(0):
        # The host was gone before the signal was asked for.
        os._exit(0)


def _choose_signal(fd: int) -> None:
    """Choose the kernel's signal: SIGKILL on Linux, which also ends a stopped process; elsewhere SIGIO."""
    if hasattr(fcntl, "F_SETSIG"):
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
            return
    # BSD and macOS ignore SIGIO by default, so a handler is needed. A handler in Python would need the interpreter
    # lock. C's `_exit` does not, and takes one number, as a handler does.
    libc = ctypes.CDLL(None)
    libc.signal(int(signal.SIGIO), libc._exit)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
