"""How a child process ends with its host, whatever it does: the kernel ends it, without the help of its threads.

A lifeline is a pipe. The host alone holds the writing end, and never writes. So the reading end becomes readable
once, when the host is gone. A thread that waited for that would need the interpreter lock, which C code may keep.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
from contextlib import suppress


def end_with_host(fd: int) -> None:
    """Have this process ended as soon as the other end of a lifeline is closed.

    Args:
        fd: the reading end of the lifeline, which stays open for as long as the process lives.
    """
    os.set_inheritable(fd, False)
    _choose_signal(fd)
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    news = select.poll()
    news.register(fd, select.POLLIN)
    if news.poll(0):
        # The host was gone before the kernel watched.
        os._exit(0)


def _choose_signal(fd: int) -> None:
    """Choose the signal that the kernel sends: on Linux SIGKILL, which ends stopped processes, too; else SIGIO."""
    if hasattr(fcntl, "F_SETSIG"):
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
            return
    # Its default is to be ignored on BSD and macOS. A handler in Python would need the interpreter lock; C's own
    # function for ending a process does not, and takes one number as a handler does.
    libc = ctypes.CDLL(None)
    libc.signal(int(signal.SIGIO), libc._exit)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
