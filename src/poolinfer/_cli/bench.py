"""What ``python -m poolinfer bench`` runs: the same burst of chats on several layouts of a pool."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .._data.requests import Chat
from .._data.stats import quantiles
from .._pool.model_info import ModelInfo, load_model_info
from .._pool.pool import Pool
from .._system.machine import available_memory, cores

# Of the free memory, what the contexts of a layout may take.
_MEMORY_SHARE = 0.5
# Slots of all workers together.
_SLOTS = (1, 4, 8, 16)
# A larger layout must be faster by this factor to be the better one.
_CLEARLY = 1.03
_SYLLABLES = ["ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "zu"]
_HEAD = ("workers", "slots", "threads", "tokens/s", "TTFT p50 ms", "p95 ms", "between tokens p99 ms")


@dataclass(frozen=True, slots=True)
class Layout:
    """How many lanes a pool has, and how many slots and threads each of them.

    Attributes:
        workers: lanes.
        slots: slots of a lane.
        threads: threads of a lane.
    """

    workers: int
    slots: int
    threads: int

    def __str__(self) -> str:
        return f"workers={self.workers}, slots={self.slots}, threads={self.threads}"


@dataclass(frozen=True, slots=True)
class ChatBurst:
    """The burst of chats that every layout is measured with.

    Attributes:
        calls: number of chats, all asked at once.
        words: made-up words in a chat; a word is two or three tokens for most models.
        max_tokens: most tokens to generate for a chat.
        n_ctx: tokens of context for a chat.
        executor: name of the executor that runs the lanes.
    """

    calls: int = 16
    words: int = 64
    max_tokens: int = 32
    n_ctx: int = 512
    executor: Literal["thread", "process", "prefork"] = "thread"

    def chats(self) -> list[Chat]:
        """The chats. They are the same each time, and no two of them begin with the same words."""
        rng = random.Random(0)
        texts = (" ".join(_word(rng) for _ in range(self.words)) for _ in range(self.calls))
        return [Chat(text, max_tokens=self.max_tokens, temperature=0) for text in texts]


@dataclass(frozen=True, slots=True)
class LayoutFigures:
    """What a layout reached, in seconds as the readers of the streams saw them.

    Attributes:
        layout: the layout.
        tokens_per_second: tokens generated for all chats, per second.
        ttft_p50: median of the time to the first token.
        ttft_p95: 95 % quantile of the time to the first token.
        itl_p99: 99 % quantile of the time between two tokens of a stream.
    """

    layout: Layout
    tokens_per_second: float
    ttft_p50: float
    ttft_p95: float
    itl_p99: float

    def cells(self) -> tuple[str, ...]:
        """The cells of its row in the table."""
        counts = (self.layout.workers, self.layout.slots, self.layout.threads)
        times = (self.ttft_p50, self.ttft_p95, self.itl_p99)
        return (
            *map(str, counts),
            f"{self.tokens_per_second:.1f}",
            *(f"{1000 * value:.0f}" for value in times),
        )


def run_bench(model: str | os.PathLike[str], burst: ChatBurst) -> int:
    """Measure every layout that fits into memory, print a table and the ``Pool(...)`` of the fastest; returns 0.

    Raises:
        ModelError: the file cannot be used.
        InvalidRequest: an option is out of bounds, or a chat does not fit into `ChatBurst.n_ctx`.
    """
    info = load_model_info(model)
    print(
        f"{info.name}: {burst.calls} chats at once, {burst.words} words in, up to {burst.max_tokens} tokens"
        f" out, executor {burst.executor!r}, {cores()} cores\n"
    )
    _print_row(_HEAD)
    found = []
    for layout in layouts(cores()):
        if not _fits(info, layout, burst.n_ctx):
            print(f"{layout}: left out, its context would take more than half of the free memory")
            continue
        found.append(measure(info, layout, burst))
        _print_row(found[-1].cells())
    chosen = best(found).layout if found else Layout(1, 1, cores())
    print(f'\nPool({os.fspath(model)!r}, executor="{burst.executor}", {chosen}, n_ctx={burst.n_ctx})')
    return 0


def layouts(most_threads: int) -> Iterator[Layout]:
    """The layouts that are tried on so many cores: from one call after the other to sixteen at a time."""
    for workers in dict.fromkeys((1, min(2, most_threads), min(4, most_threads))):
        for slots in _SLOTS:
            if slots % workers == 0:
                yield Layout(workers, slots // workers, max(1, most_threads // workers))


def measure(model: ModelInfo, layout: Layout, burst: ChatBurst) -> LayoutFigures:
    """Run the burst on a pool of that layout, with a reading thread for each chat.

    Loading, and a first call for each worker, are not measured.
    """
    with Pool(
        model,
        executor=burst.executor,
        workers=layout.workers,
        slots=layout.slots,
        threads=layout.threads,
        n_ctx=burst.n_ctx,
    ) as pool:
        for call in [pool.submit(Chat("warm up", max_tokens=1)) for _ in range(layout.workers)]:
            call.result()
        with ThreadPoolExecutor(burst.calls) as threads:
            began = time.monotonic()
            read = list(threads.map(lambda chat: _read(pool, chat), burst.chats()))
            seconds = time.monotonic() - began
    firsts = [times[0] - began for times, _ in read if times]
    gaps = [later - earlier for times, _ in read for earlier, later in pairwise(times)]
    tokens = sum(count for _, count in read)
    ttft, itl = quantiles(firsts), quantiles(gaps)
    return LayoutFigures(layout, tokens / seconds, ttft.p50 or 0.0, ttft.p95 or 0.0, itl.p99 or 0.0)


def best(found: list[LayoutFigures]) -> LayoutFigures:
    """The fastest layout, or the first one that is hardly slower: layouts are tried from small to large."""
    most = max(item.tokens_per_second for item in found)
    return next(item for item in found if item.tokens_per_second * _CLEARLY >= most)


def _read(pool: Pool, chat: Chat) -> tuple[list[float], int]:
    """When each chunk of a chat's answer came, and how many tokens the answer had."""
    call = pool.stream(chat)
    times = [time.monotonic() for _ in call]
    return times, call.result().usage.completion_tokens


def _fits(model: ModelInfo, layout: Layout, n_ctx: int) -> bool:
    memory = available_memory()
    needed = model.kv_bytes_per_token * n_ctx * layout.workers * layout.slots
    return memory is None or needed <= _MEMORY_SHARE * memory


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((2, 3))))


def _print_row(cells: tuple[str, ...]) -> None:
    print("  ".join(cell.rjust(len(head)) for cell, head in zip(cells, _HEAD, strict=True)), flush=True)
