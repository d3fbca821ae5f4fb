"""What bombs cost with a large vocabulary: ``python tests/helpers/bomb_table.py [WORD ...]``, with src on the path.

Each bomb is tried in a child of its own, so that the memory that it takes shows.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

from bombs import CHEAP, REFUSED
from guide_bench import GuideBench
from wide_engine import WideEngine

from poolinfer import InvalidRequest

_MIB = 1024 * 1024


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print a line for each bomb: processor time, memory, and what is said."""
    bench = GuideBench(WideEngine())
    bench.asked(regex="warm")
    for name, options in {**REFUSED, **CHEAP}.items():
        if not all(word in name for word in sys.argv[1:]):
            continue
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        signal.alarm(60)
        before, began = _peak(), time.thread_time()
        try:
            bench.asked(**options)
            said = "taken"
        except InvalidRequest as error:
            said = f"{type(error).__name__} {error.field}: {error.message[-90:]!r}"
        took = time.thread_time() - began
        print(f"| {name} | {took:.3f} s | {(_peak() - before) / _MIB:.0f} MB | {said} |", flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
