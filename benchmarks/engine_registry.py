"""Engines by name: `locked`, `bundled` and other peers, and poolinfer's own such as `thread-2x8x1`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from engine import Engine, Unavailable
from workloads import Workload


@dataclass(frozen=True)
class Peer:
    """An engine that is not poolinfer's.

    Attributes:
        title: the engine in words, for the report.
        module: the module that holds its class; imported only if the engine is to run.
        class_name: the class, which is called with the workload.
    """

    title: str
    module: str
    class_name: str


PEERS = {
    "locked": Peer("one llama_cpp.Llama behind a lock", "engines.locked_llama", "LockedLlama"),
    "fresh": Peer("a fresh context per call, one thread each", "engines.batched_loop", "Fresh"),
    "xllamacpp": Peer("xllamacpp's Server", "engines.xllamacpp_server", "XllamacppServer"),
    "bundled": Peer(
        "llama-cpp-python's examples/server, over HTTP", "engines.bundled_server", "BundledServer"
    ),
    "bare": Peer("a bare batched loop over the C API", "engines.batched_loop", "Bare"),
}
#: Packages that an engine needs and that may be missing.
_OPTIONAL = {"xllamacpp"}
_POOL = re.compile(r"(thread|process|prefork)(?:-(\d+)x(\d+)x(\d+))?(-whole)?")


def is_pool(name: str) -> bool:
    """Tell whether an engine is one of poolinfer's."""
    return name not in PEERS


def is_known(name: str) -> bool:
    """Tell whether there is an engine of that name."""
    return name in PEERS or _POOL.fullmatch(name) is not None


def label(name: str) -> str:
    """Return how the report names an engine."""
    if name in PEERS:
        return PEERS[name].title
    executor, workers, slots, threads, whole = pool_layout(name)
    lanes = f", {workers} x {slots} slots x {threads} thread{'s' if threads > 1 else ''}" if workers else ""
    return f"poolinfer {executor}{lanes}{', whole batches' if whole else ''}"


def pool_layout(name: str) -> tuple[str, int, int, int, bool]:
    """Return executor, workers, slots, threads (0 where the pool chooses), and whether batches are whole.

    ``"thread"`` leaves all to the pool; ``"thread-2x8x1"`` has two workers of eight slots and one thread each.
    With ``"-whole"`` a step has no time limit, so that batches are filled as the bare loop fills them.
    """
    found = _POOL.fullmatch(name)
    if found is None:
        raise ValueError(f"no engine is called {name!r}")
    workers, slots, threads = (int(found[n] or 0) for n in (2, 3, 4))
    return found[1], workers, slots, threads, bool(found[5])


def make_engine(name: str, work: Workload) -> Engine:
    """Return an engine that is not started yet; raises `Unavailable` if its package is missing."""
    if is_pool(name):
        from engines.pool_engine import PoolEngine

        return PoolEngine(work, *pool_layout(name))
    peer = PEERS[name]
    try:
        make: Callable[[Workload], Engine] = getattr(import_module(peer.module), peer.class_name)
    except ModuleNotFoundError as error:
        if error.name not in _OPTIONAL:
            raise
        raise Unavailable(f"{error.name} is not installed") from error
    return make(work)
