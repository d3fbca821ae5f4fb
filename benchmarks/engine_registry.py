"""What is measured: every engine is an object with the same few methods, found by its name."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from workloads import Prompt, Workload

#: Engines that are not poolinfer's, with what they are.
PEERS = {
    "locked": "one llama_cpp.Llama behind a lock",
    "fresh": "a fresh context per call, one thread each",
    "xllamacpp": "xllamacpp's Server",
    "bundled": "llama-cpp-python's examples/server, over HTTP",
    "bare": "a bare batched loop over the C API",
}
_POOL = re.compile(r"(thread|process|prefork)(?:-(\d+)x(\d+)x(\d+))?(-whole)?")


class Unavailable(Exception):
    """The engine cannot be measured here; the message says why, and the report repeats it."""


@dataclass(frozen=True)
class Answer:
    """What came of a call.

    Attributes:
        text: all that was generated, where the engine gives text.
        completion_tokens: tokens generated.
        prompt_tokens: tokens of the prompt as the engine counts them, where it says.
        cached_tokens: of these, how many were not computed, where it says.
    """

    text: str
    completion_tokens: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None


class Engine(Protocol):
    """Something that answers prompts, greedily, for any number of threads at a time.

    Attributes:
        settings: what it was set to, for the report.
    """

    settings: dict[str, Any]

    def start(self) -> None:
        """Load and get ready; raises `Unavailable`."""
        ...

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt and wait for it; `heard` is called with every piece, as soon as a reader has it."""
        ...

    def embed(self, texts: list[str]) -> list[int]:
        """Turn texts into vectors; the length of each."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def is_pool(name: str) -> bool:
    """Tell whether an engine is one of poolinfer's."""
    return name not in PEERS


def is_known(name: str) -> bool:
    """Tell whether there is such an engine."""
    return name in PEERS or _POOL.fullmatch(name) is not None


def label(name: str) -> str:
    """Return how the report names an engine."""
    if name in PEERS:
        return PEERS[name]
    executor, workers, slots, threads, whole = pool_layout(name)
    lanes = f", {workers} x {slots} slots x {threads} thread{'s' if threads > 1 else ''}" if workers else ""
    return f"poolinfer {executor}{lanes}{', whole batches' if whole else ''}"


def pool_layout(name: str) -> tuple[str, int, int, int, bool]:
    """Return executor, workers, slots, threads (0 where the pool chooses), and whether batches are whole.

    ``"thread"`` leaves all to the pool; ``"thread-2x8x1"`` has two workers of eight slots and one thread each;
    with ``"-whole"`` steps may last as long as they get, so that batches are filled as the bare loop fills them.
    """
    found = _POOL.fullmatch(name)
    if found is None:
        raise ValueError(f"no engine is called {name!r}")
    workers, slots, threads = (int(found[n] or 0) for n in (2, 3, 4))
    return found[1], workers, slots, threads, bool(found[5])


def make_engine(name: str, work: Workload) -> Engine:
    """Return an engine that is not started yet; raises `Unavailable`."""
    if name in ("locked", "fresh", "bare"):
        from engines import batched_loop

        kinds: dict[str, Callable[[Workload], Engine]] = {
            "locked": batched_loop.Locked,
            "fresh": batched_loop.Fresh,
            "bare": batched_loop.Bare,
        }
        return kinds[name](work)
    if name == "xllamacpp":
        if importlib.util.find_spec("xllamacpp") is None:
            raise Unavailable("xllamacpp is not installed")
        from engines.xllamacpp_server import Xllamacpp

        return Xllamacpp(work)
    if name == "bundled":
        from engines.bundled_server import Bundled

        return Bundled(work)
    from engines.pool_engine import PoolEngine

    return PoolEngine(work, *pool_layout(name))
