"""What a process holds: threads, descriptors, children. Compared before and after, it shows leaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ._expect import check


@dataclass(frozen=True)
class Held:
    """A snapshot of what this process holds (descriptors and children on Linux only).

    Attributes:
        threads: the process's Python threads.
        descriptors: the open files, each as a number and a target.
        children: the process ids of the children.
    """

    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[int, str]]
    children: frozenset[int]

    @classmethod
    def now(cls) -> Held:
        """A snapshot of what is held now."""
        return cls(frozenset(threading.enumerate()), frozenset(_descriptors()), frozenset(_children()))

    def more(self, tolerate: Callable[[threading.Thread], bool] = lambda _: False) -> list[str]:
        """What is held now and was not when the snapshot was taken, in words.

        Args:
            tolerate: whether a thread does not count.
        """
        now = Held.now()
        threads = [thread.name for thread in now.threads - self.threads if not tolerate(thread)]
        files = [f"fd {number} -> {target}" for number, target in now.descriptors - self.descriptors]
        return sorted(threads) + sorted(files) + [f"child {pid}" for pid in now.children - self.children]

    def expect_no_more(self, timeout: float = 5.0) -> None:
        """Wait until nothing more is held than when the snapshot was taken.

        Raises:
            AssertionError: something more is still held after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (more := self.more()) and time.monotonic() < deadline:
            time.sleep(0.01)
        check(not more, f"left behind: {', '.join(more)}")


def _descriptors() -> list[tuple[int, str]]:
    found = []
    folder = Path("/proc/self/fd")
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            # The descriptor of this very listing is gone by now.
            with suppress(OSError):
                found.append((int(entry.name), str(entry.readlink())))
    return found


def _children() -> list[int]:
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found.extend(map(int, path.read_text().split()))
    return found
