"""Texts to vectors inside a lane: a context of its own, and one batch in each step.

Token vectors are pooled here, and not by the engine. So long texts can be computed in several steps, and one
context serves every kind of pooling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._data.errors import EngineError
from ..._data.events import Done, Emit, Started
from ..._data.requests import Embed, Pooling
from ..._data.results import Embedding
from ..engine_protocol import Batch, EmbeddingContext, Engine
from .slot import Task

if TYPE_CHECKING:
    import numpy
    import numpy.typing

_MOST_TEXTS = 32


class EmbedTask(Task):
    """One `Embed` call: its texts as tokens, and the vectors found so far."""

    def __init__(
        self, job_id: int, emit: Emit, request: Embed, texts: list[list[int]], pooling: Pooling
    ) -> None:
        super().__init__(job_id, emit)
        self.waiting = [PooledText(self, index, tokens, pooling) for index, tokens in enumerate(texts)]
        self.waiting.reverse()
        self._n_tokens = sum(map(len, texts))
        self._found: list[Embedding | None] = [None] * len(texts)
        self._missing = len(texts)
        self._normalize = request.normalize

    def begin(self) -> None:
        """Emit that the call got its slot."""
        self.emit(Started(self._n_tokens))

    def found(self, index: int, embedding: Embedding) -> None:
        """Keep one text's vector; the last one ends the call."""
        self._found[index] = embedding.normalize() if self._normalize else embedding
        self._missing -= 1
        if not self._missing:
            self.emit(Done(tuple(item for item in self._found if item is not None)))


class PooledText:
    """One text of a call, and its token vectors as far as they are pooled."""

    def __init__(self, task: EmbedTask, index: int, tokens: list[int], pooling: Pooling) -> None:
        self.task = task
        self.tokens = tokens
        self.computed = 0
        self.sequence = -1
        self._index = index
        self._pooling: Pooling = pooling
        self._pooled: numpy.typing.NDArray[numpy.float64] | None = None

    @property
    def n_pending(self) -> int:
        """Tokens still to be computed."""
        return len(self.tokens) - self.computed

    def again(self) -> PooledText:
        """A copy of the text of which nothing is computed."""
        return PooledText(self.task, self._index, self.tokens, self._pooling)

    def take(self, vectors: numpy.typing.NDArray[numpy.float32]) -> None:
        """Pool the vectors of the next tokens, shape (tokens, width); the last ones give the embedding."""
        pooled = self._pooled = self._pool(vectors)
        self.computed += len(vectors)
        if not self.n_pending:
            self._end(pooled)

    def _pool(self, vectors: numpy.typing.NDArray[numpy.float32]) -> numpy.typing.NDArray[numpy.float64]:
        before = self._pooled
        fresh: numpy.typing.NDArray[numpy.float64]
        if self._pooling == "mean":
            fresh = vectors.sum(axis=0, dtype="f8")
            return fresh if before is None else before + fresh
        fresh = vectors[-1 if self._pooling == "last" else 0].astype("f8")
        return fresh if before is None or self._pooling == "last" else before

    def _end(self, pooled: numpy.typing.NDArray[numpy.float64]) -> None:
        import numpy

        if self._pooling == "mean":
            pooled = pooled / len(self.tokens)
        if not numpy.isfinite(pooled).all():
            self.task.fail(EngineError("the engine computed an embedding that is not finite"))
            return
        self.task.found(self._index, Embedding(pooled.astype("<f4").tobytes(), len(self.tokens)))


class Embedder:
    """Computes the texts of all embed calls of a lane together, oldest call first.

    Args:
        engine: what computes.
        n_ctx: tokens of all texts that are computed together.
        alone: whether each text is computed alone. Its vector then has the same bits whatever its neighbours are.
    """

    def __init__(self, engine: Engine, n_ctx: int, *, alone: bool = False) -> None:
        self._engine = engine
        self._n_ctx = n_ctx
        self._most = 1 if alone else _MOST_TEXTS
        self._context: EmbeddingContext | None = None
        self._open: list[PooledText] = []
        self._free = list(range(_MOST_TEXTS))

    def step(self, tasks: list[EmbedTask], budget: int) -> int:
        """Compute up to `budget` rows; returns how many there were.

        Raises:
            EngineFault: the step failed; the lane then calls `reset`.
        """
        self._forget_ended()
        self._admit(tasks)
        context = self._make_context()
        batch, spans = self._plan(context, budget)
        if not len(batch):
            return 0
        context.decode(batch)
        vectors = context.embeddings(len(batch))
        for text, start, stop in spans:
            text.take(vectors[start:stop])
        self._forget_ended()
        return len(batch)

    def abort(self, on: bool) -> None:
        """Make the running step stop soon; off again with False."""
        if self._context is not None:
            self._context.abort(on)

    def reset(self) -> None:
        """Forget everything after a failed step; texts of calls that live will be computed again."""
        for text in self._open:
            text.task.waiting.append(text.again())
        self._open.clear()
        self._free = list(range(_MOST_TEXTS))
        if self._context is not None:
            self._context.clear(-1)

    def close(self) -> None:
        """Free the context; idempotent."""
        if self._context is not None:
            self._context.close()
            self._context = None

    def _make_context(self) -> EmbeddingContext:
        if self._context is None:
            self._context = self._engine.embedding_context(n_seq=_MOST_TEXTS, n_ctx=self._n_ctx)
        return self._context

    def _forget_ended(self) -> None:
        for text in [text for text in self._open if text.task.ended or not text.n_pending]:
            self._open.remove(text)
            self._free.append(text.sequence)
            self._make_context().clear(text.sequence)

    def _admit(self, tasks: list[EmbedTask]) -> None:
        room = self._n_ctx - sum(len(text.tokens) for text in self._open)
        for task in tasks:
            while task.waiting:
                if len(self._open) == self._most or len(task.waiting[-1].tokens) > room:
                    return
                text = task.waiting.pop()
                text.sequence = self._free.pop()
                room -= len(text.tokens)
                self._open.append(text)

    def _plan(
        self, context: EmbeddingContext, budget: int
    ) -> tuple[Batch, list[tuple[PooledText, int, int]]]:
        batch, spans = Batch(), []
        causal = self._engine.info.causal
        room = min(budget, context.n_batch) if causal else context.n_batch
        for text in self._open:
            n = min(text.n_pending, room - len(batch))
            if n <= 0 or (not causal and n < text.n_pending):
                continue
            start = len(batch)
            tokens = text.tokens[text.computed : text.computed + n]
            batch.add(text.sequence, text.computed, tokens, last=True, rest=True)
            spans.append((text, start, len(batch)))
        return batch, spans
