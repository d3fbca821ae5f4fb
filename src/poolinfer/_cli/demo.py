"""What ``python -m poolinfer demo`` runs: sixteen calls at once, one more streamed, and one line of statistics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from .._data.errors import PoolinferError
from .._data.requests import Chat, Raw
from .._data.results import Embedding, Response
from .._data.text_requests import Embed
from .._pool.model import Model
from .._pool.pool import Pool

#: What the demonstration asks.
_Request: TypeAlias = Chat | Raw | Embed[str]
#: All are asked at once: the first half from a thread each, the second half from one event loop.
REQUESTS: tuple[_Request, ...] = (
    Chat("What is the capital of France?", temperature=0, max_tokens=64),
    Chat("What is the capital of Peru?", temperature=0, max_tokens=64),
    Chat("What is the capital of Norway?", temperature=0, max_tokens=64),
    Chat("What is the capital of Cuba? /think", temperature=0, max_tokens=64),
    Chat("Say hello in Japanese.", temperature=0, max_tokens=64),
    Chat("Repeat after me: river apple cloud", temperature=0, max_tokens=64),
    Raw("The capital of France is", temperature=0, max_tokens=8, stop="."),
    Embed("I love this film."),
    Chat("What is the capital of Japan?", temperature=0, max_tokens=64),
    Chat("What is the capital of Kenya?", temperature=0, max_tokens=64),
    Chat("What is 20 plus 3?", temperature=0, max_tokens=64),
    Chat("Is this positive or negative? I love this film.", temperature=0, max_tokens=64),
    Chat("Extract JSON: Maria is 31 years old and lives in Lisbon.", temperature=0, max_tokens=64),
    Chat("Hello!", temperature=0, max_tokens=64),
    Raw("The capital of Peru is", temperature=0, max_tokens=8, stop="."),
    Embed("This film is great."),
)
STREAMED = Chat("Count from 1 to 20.", temperature=0, max_tokens=96)


@dataclass(frozen=True)
class _EndedCall:
    """A request that has ended, who asked it, and its result or error."""

    caller: str
    request: _Request
    outcome: Response | Embedding | PoolinferError


def run_demo(
    model: Model | str | os.PathLike[str], *, workers: int | None = None, slots: int | None = None
) -> int:
    """Run the demonstration and print it; returns an exit status, 1 if any call failed, else 0."""
    with Pool(model, workers=workers, slots=slots) as pool:
        print(f"{len(REQUESTS)} calls at once on {pool.model.name}: 8 from threads, 8 from one event loop\n")
        ended = _run_all(pool)
        for item in ended:
            _show(item)
        streamed = _stream(pool)
        print(f"\n{pool.stats()}")
    failed = sum(isinstance(item.outcome, PoolinferError) for item in [*ended, streamed])
    if failed:
        print(f"{failed} calls failed")
    return 1 if failed else 0


def _run_all(pool: Pool) -> list[_EndedCall]:
    half = len(REQUESTS) // 2
    with ThreadPoolExecutor(half) as threads:
        asked = [threads.submit(_ask, pool, request) for request in REQUESTS[:half]]
        awaited = asyncio.run(_ask_all(pool, REQUESTS[half:]))
        return [*(future.result() for future in asked), *awaited]


def _ask(pool: Pool, request: _Request) -> _EndedCall:
    try:
        return _EndedCall("thread", request, pool.submit(request).result())
    except PoolinferError as error:
        return _EndedCall("thread", request, error)


async def _ask_all(pool: Pool, requests: Sequence[_Request]) -> list[_EndedCall]:
    return await asyncio.gather(*(_await(pool, request) for request in requests))


async def _await(pool: Pool, request: _Request) -> _EndedCall:
    try:
        return _EndedCall("async", request, await pool.submit(request))
    except PoolinferError as error:
        return _EndedCall("async", request, error)


def _stream(pool: Pool) -> _EndedCall:
    print(_label("stream", STREAMED), end="", flush=True)
    try:
        call = pool.stream(STREAMED)
        for chunk in call:
            print(chunk.text, end="", flush=True)
        print()
        return _EndedCall("stream", STREAMED, call.result())
    except PoolinferError as error:
        print(f"{type(error).__name__}: {error}")
        return _EndedCall("stream", STREAMED, error)


def _show(item: _EndedCall) -> None:
    print(_label(item.caller, item.request) + _describe(item.outcome))


def _label(caller: str, request: _Request) -> str:
    asked = request.input if isinstance(request, Embed) else request.prompt
    return f"{caller:6}  {type(request).__name__.lower():5}  {asked!s:57}  "


def _describe(outcome: Response | Embedding | PoolinferError) -> str:
    if isinstance(outcome, PoolinferError):
        return f"{type(outcome).__name__}: {outcome}"
    if isinstance(outcome, Response):
        return " ".join(outcome.text.split())
    return f"a vector of {outcome.dimensions} numbers, length {outcome.norm():.3f}"
