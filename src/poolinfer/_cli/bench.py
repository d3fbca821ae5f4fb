"""The command ``python -m poolinfer bench``: one burst of chats on several layouts of a pool."""

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
from .._pool.model import Model
from .._pool.pool import Pool
from .._system.machine import available_memory, cores

_MEMORY_SHARE = 0.5
_SLOTS = (1, 4, 8, 16)
#: A layout with more workers, slots or threads is only chosen if it is faster by this factor.
_CLEARLY_FASTER = 1.03
_SYLLABLES = ["ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "zu"]
_HEAD = ("workers", "slots", "threads", "tokens/s", "TTFT p50 ms", "p95 ms", "between tokens p99 ms")


@dataclass(frozen=True, slots=True)
class Layout:
    """Number of lanes (workers), slots of each lane, and threads of each lane."""

    workers: int
    slots: int
    threads: int

    def __str__(self) -> str:
        return f"workers={self.workers}, slots={self.slots}, threads={self.threads}"


@dataclass(frozen=True, slots=True)
class ChatBurst:
    """The work for each layout: a number of chats at once.

    Attributes:
        calls: number of chats; all begin at once.
        words: number of made-up words in each prompt; a word is two or three tokens for most models.
        max_tokens: most tokens of each answer.
        n_ctx: context of each call, in tokens.
        executor: where lanes run.
    """

    calls: int = 16
    words: int = 64
    max_tokens: int = 32
    n_ctx: int = 512
    executor: Literal["thread", "process", "prefork"] = "thread"

    def chats(self) -> list[Chat]:
        """Return the chats: the same ones each time; no two of them begin alike."""
        rng = random.Random(0)
        texts = (" ".join(_word(rng) for _ in range(self.words)) for _ in range(self.calls))
        return [Chat(text, max_tokens=self.max_tokens, temperature=0) for text in texts]


@dataclass(frozen=True, slots=True)
class LayoutFigures:
    """What a layout reached: tokens per second, and seconds as seen by the readers of the streams."""

    layout: Layout
    tokens_per_second: float
    ttft_p50: float
    ttft_p95: float
    itl_p99: float

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the layout's line in the table."""
        counts = (self.layout.workers, self.layout.slots, self.layout.threads)
        times = (self.ttft_p50, self.ttft_p95, self.itl_p99)
        return (
            *map(str, counts),
            f"{self.tokens_per_second:.1f}",
            *(f"{1000 * value:.0f}" for value in times),
        )


def run_bench(model: str | os.PathLike[str], burst: ChatBurst) -> int:
    """Measure each layout that fits into memory, print a table and the ``Pool(...)`` line of the best; returns 0.

    Raises:
        ModelError: the model file cannot be used.
        InvalidRequest: an option is out of bounds, or a chat does not fit into `ChatBurst.n_ctx`.
    """
    with Model.load(model) as loaded:
        print(
            f"{loaded.name}: {burst.calls} chats at once, {burst.words} words in, up to {burst.max_tokens} tokens"
            f" out, executor {burst.executor!r}, {cores()} cores\n"
        )
        _print_row(_HEAD)
        found = []
        for layout in layouts(cores()):
            if not _fits(loaded, layout, burst.n_ctx):
                print(f"{layout}: left out, its context would take more than half of the free memory")
                continue
            found.append(measure(loaded, layout, burst))
            _print_row(found[-1].cells())
    chosen = best(found).layout if found else Layout(1, 1, cores())
    print(f'\nPool({os.fspath(model)!r}, executor="{burst.executor}", {chosen}, n_ctx={burst.n_ctx})')
    return 0


def layouts(most_threads: int) -> Iterator[Layout]:
    """Yield the layouts to try with so many threads: from one call after the other to sixteen calls at a time."""
    for workers in dict.fromkeys((1, min(2, most_threads), min(4, most_threads))):
        for slots in _SLOTS:
            if slots % workers == 0:
                yield Layout(workers, slots // workers, max(1, most_threads // workers))


def measure(model: Model, layout: Layout, burst: ChatBurst) -> LayoutFigures:
    """Run the burst on a pool of that layout, with a reading thread per chat; loading and warm-up do not count."""
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
    return LayoutFigures(
        layout, tokens / seconds, _quantile(firsts, 0.5), _quantile(firsts, 0.95), _quantile(gaps, 0.99)
    )


def best(found: list[LayoutFigures]) -> LayoutFigures:
    """Return the first layout that is not clearly slower than the fastest."""
    most = max(item.tokens_per_second for item in found)
    return next(item for item in found if item.tokens_per_second * _CLEARLY_FASTER >= most)


def _read(pool: Pool, chat: Chat) -> tuple[list[float], int]:
    """Return when each chunk of a chat's answer came, and the number of its tokens."""
    call = pool.stream(chat)
    times = [time.monotonic() for _ in call]
    return times, call.result().usage.completion_tokens


def _fits(model: Model, layout: Layout, n_ctx: int) -> bool:
    memory = available_memory()
    needed = model.kv_bytes_per_token * n_ctx * layout.workers * layout.slots
    return memory is None or needed <= _MEMORY_SHARE * memory


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((2, 3))))


def _quantile(values: list[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def _print_row(cells: tuple[str, ...]) -> None:
    print("  ".join(cell.rjust(len(head)) for cell, head in zip(cells, _HEAD, strict=True)), flush=True)
