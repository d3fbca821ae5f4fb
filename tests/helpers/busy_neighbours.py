"""Calls of every kind, again and again, so that other calls of a pool never have a step to themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice

from poolinfer import Chat, Pool, Raw

Ask = Callable[[Pool], object]
#: For a model that generates and judges, with a chat template.
JUDGE = "<|im_start|>user\nIs {document} about {query}?<|im_end|>\n<|im_start|>assistant\n"
_SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search.",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
    },
}
_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

GENERATING: Sequence[Ask] = (
    lambda pool: pool.raw("the other", n=2, max_tokens=5),
    lambda pool: pool.raw("hello there he", temperature=1.5, top_k=5, max_tokens=12, repeat_penalty=1.3),
    lambda pool: pool.score("the other hello " * 9, "hello the " * 5, top_logprobs=3),
    lambda pool: pool.raw("yes no", max_tokens=20, stop=["e", "t"], presence_penalty=0.5),
    lambda pool: pool.raw("yes no", max_tokens=9, regex="[a-f]{9,12}"),
    lambda pool: pool.raw("yes no", max_tokens=9, response_format=_SCHEMA),
    lambda pool: pool.submit(Chat("hello", top_logprobs=5, max_tokens=7)).result(30),
    lambda pool: pool.embed(["the other", "hello " * 20]),
    lambda pool: pool.rerank("hello", ["the other", "yes " * 20, "no"]),
)
EMBEDDING: Sequence[Ask] = (
    lambda pool: pool.embed(["the hello", "hello " * 20], dimensions=8),
    lambda pool: pool.embed(["the hello", "no", "hello " * 9], late_chunking=True, pooling="mean"),
    lambda pool: pool.embed("the " * 40, pooling="last"),
    lambda pool: pool.embed(["9"] * 5, normalize=False),
)
RANKING: Sequence[Ask] = (
    lambda pool: pool.rerank("hello", ["the other", "yes " * 20, "no"], top_n=1),
    lambda pool: pool.rerank("the " * 20, ["9", "hello"], raw_scores=True),
)


def calls_a_tool(pool: Pool) -> object:
    """One more kind, for a model with room for the description of a tool."""
    return pool.submit(Chat("hello", tools=[_SEARCH], tool_choice="required", max_tokens=9)).result(30)


def fills_a_gap(pool: Pool) -> object:
    """One more kind, for a model that has the tokens for it."""
    return pool.submit(Raw("x = ", suffix=";", max_tokens=6)).result(30)


@contextmanager
def busy(pool: Pool, asks: Sequence[Ask], n: int = 7) -> Iterator[Pool]:
    """Keep `n` slots of a pool busy with calls of all kinds in `asks`; raises what one of them raised."""
    failed: list[BaseException] = []
    over = threading.Event()

    def repeat(first: int) -> None:
        try:
            for ask in cycle([*islice(cycle(asks), first, first + len(asks))]):
                if over.is_set():
                    return
                ask(pool)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=repeat, args=(i % len(asks),)) for i in range(n)]
    for thread in threads:
        thread.start()
    try:
        yield pool
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    if failed:
        raise failed[0]
