"""The methods that embed and rank texts, sync and async. `Pool` and `Model` have them through `CallMethods`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any, overload

from typing_extensions import Unpack

from .._data.results import Embedding
from .._data.text_requests import Embed, EmbedOptions, Rerank, RerankOptions
from .._data.text_results import RankedDocument
from .call import Call
from .missing_argument import says_what_is_missing
from .outcomes import best
from .text_batches import embed_calls, rerank_calls


class RetrievalMethods(ABC):
    """Embed and rerank calls over one primitive: `submit`."""

    @abstractmethod
    def submit(self, request: Any) -> Call[Any]:
        """See `CallMethods.submit`."""

    @overload
    def embed(self, input: str, **options: Unpack[EmbedOptions]) -> Embedding: ...  # type: ignore[overload-overlap]
    @overload
    def embed(self, input: Iterable[str], **options: Unpack[EmbedOptions]) -> list[Embedding]: ...
    @says_what_is_missing(Embed, "input")
    def embed(
        self, input: str | Iterable[str], **options: Unpack[EmbedOptions]
    ) -> Embedding | list[Embedding]:
        """Turn one text into a vector, or several into as many, in order.

        Args:
            input: one text, or any iterable of texts, which may be empty. More than 256 texts (or a million
                characters) become several calls, of which at most four are open at a time.
            options: the fields of `Embed`. `timeout` is for all texts together.

        Raises:
            PoolFull: the queue is full. Of several calls only the first raises it; the others wait for room.
            Exception: the error of a call; the other calls are cancelled. An `InvalidRequest` names ``input[i]``.
        """
        calls = embed_calls(self.submit, input, options)
        if isinstance(calls, Call):
            return calls._answer("`await aembed(..)`")  # type: ignore[no-any-return]
        return [vector for vectors in calls.bulk.run(calls.results) for vector in vectors]

    @overload
    async def aembed(self, input: str, **options: Unpack[EmbedOptions]) -> Embedding: ...  # type: ignore[overload-overlap]
    @overload
    async def aembed(self, input: Iterable[str], **options: Unpack[EmbedOptions]) -> list[Embedding]: ...
    @says_what_is_missing(Embed, "input")
    async def aembed(
        self, input: str | Iterable[str], **options: Unpack[EmbedOptions]
    ) -> Embedding | list[Embedding]:
        """`embed` for async code (asyncio and trio)."""
        calls = embed_calls(self.submit, input, options)
        if isinstance(calls, Call):
            return await calls  # type: ignore[no-any-return]
        async with aclosing(calls.bulk.arun(calls.results)) as run:
            return [vector async for vectors in run for vector in vectors]

    @says_what_is_missing(Rerank, "query", "documents")
    def rerank(
        self, query: str, documents: Iterable[str], **options: Unpack[RerankOptions]
    ) -> list[RankedDocument]:
        """Rank documents by how well each of them answers a query, the best one first.

        Documents with equal scores keep their order. The model has to be a reranker (see `Model.load`).

        Args:
            query: the question.
            documents: any iterable of texts, which may be empty. More than 256 texts (or a million characters)
                become several calls, of which at most four are open at a time.
            options: the fields of `Rerank`. `timeout` is for all documents together.

        Raises:
            PoolFull: the queue is full. Of several calls only the first raises it; the others wait for room.
            Exception: the error of a call; the other calls are cancelled. An `InvalidRequest` names
                ``documents[i]``.
        """
        calls = rerank_calls(self.submit, query, documents, options)
        if isinstance(calls, Call):
            return calls._answer("`await arerank(..)`")  # type: ignore[no-any-return]
        found = [document for ranked in calls.bulk.run(calls.results) for document in ranked]
        return best(found, options.get("top_n"))

    @says_what_is_missing(Rerank, "query", "documents")
    async def arerank(
        self, query: str, documents: Iterable[str], **options: Unpack[RerankOptions]
    ) -> list[RankedDocument]:
        """`rerank` for async code (asyncio and trio)."""
        calls = rerank_calls(self.submit, query, documents, options)
        if isinstance(calls, Call):
            return await calls  # type: ignore[no-any-return]
        async with aclosing(calls.bulk.arun(calls.results)) as run:
            found = [document async for ranked in run for document in ranked]
        return best(found, options.get("top_n"))
