"""Texts to vectors inside a lane.

Token vectors are pooled here, and not by the engine. So long texts can be computed in several steps, one context
serves every kind of pooling, and the passages of one document can be pooled each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..._data.errors import EngineError
from ..._data.events import Done, Emit
from ..._data.results import Embedding
from ..._data.text_requests import Embed, Pooling
from ..engine_protocol import EmbeddingContext
from .text_computer import MOST_TEXTS, Span, Text, TextComputer, TextTask

if TYPE_CHECKING:
    import numpy
    import numpy.typing


class EmbedTask(TextTask):
    """One `Embed` call: its texts as tokens, and the vectors found so far.

    Args:
        job_id: the job's id.
        emit: takes the job's events.
        request: the call's request.
        texts: the tokens of each text; with `late_chunking`, those of each passage of the one text.
        pooling: how token vectors become one.
    """

    def __init__(
        self, job_id: int, emit: Emit, request: Embed, texts: list[list[int]], pooling: Pooling
    ) -> None:
        super().__init__(job_id, emit, sum(map(len, texts)))
        if request.late_chunking:
            lengths = list(map(len, texts))
            self.waiting = [
                PooledText(self, 0, [token for passage in texts for token in passage], lengths, pooling)
            ]
        else:
            self.waiting = [PooledText(self, i, text, [len(text)], pooling) for i, text in enumerate(texts)]
        self.waiting.reverse()
        self._found: list[Embedding | None] = [None] * len(texts)
        self._missing = len(texts)
        self._normalize = request.normalize
        self._dimensions = request.dimensions

    def found(self, index: int, embedding: Embedding) -> None:
        """Keep one text's vector; the last one ends the call."""
        if self._dimensions is not None:
            embedding = Embedding(embedding.data[: 4 * self._dimensions], embedding.prompt_tokens)
        shown = embedding.normalize() if self._normalize or self._dimensions is not None else embedding
        self._found[index] = shown
        self._missing -= 1
        if not self._missing:
            self.emit(Done(tuple(item for item in self._found if item is not None)))


class PooledText(Text):
    """One text of a call, and its token vectors as far as they are pooled.

    Args:
        task: the call.
        index: number of the text among those of the call, or of its first passage.
        tokens: the tokens of the text.
        lengths: how many of these tokens each vector is pooled of, in order.
        pooling: how token vectors become one.
    """

    def __init__(
        self, task: EmbedTask, index: int, tokens: Sequence[int], lengths: Sequence[int], pooling: Pooling
    ) -> None:
        super().__init__(task, tokens)
        self._owner = task
        self._index = index
        self._lengths = lengths
        self._pooling: Pooling = pooling
        self._done = 0
        self._left = lengths[0]
        self._pooled: numpy.typing.NDArray[numpy.float64] | None = None

    def again(self) -> PooledText:
        """A copy of the text of which nothing is computed."""
        return PooledText(self._owner, self._index, self.tokens, self._lengths, self._pooling)

    def take(self, vectors: numpy.typing.NDArray[numpy.float32]) -> None:
        """Pool the vectors of the next tokens, shape (tokens, width); the last of a passage gives its embedding."""
        self.computed += len(vectors)
        while len(vectors) > self._left:
            n, self._left = self._left, 0
            self._end(self._pool(vectors[:n]))
            vectors = vectors[n:]
        pooled = self._pooled = self._pool(vectors)
        self._left -= len(vectors)
        if not self._left:
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
        """Give the call the vector of the passage that is computed, and go on to the next one."""
        import numpy

        n = self._lengths[self._done]
        if self._pooling == "mean":
            pooled = pooled / n
        if numpy.isfinite(pooled).all():
            self._owner.found(self._index + self._done, Embedding(pooled.astype("<f4").tobytes(), n))
        else:
            self.task.fail(EngineError("the engine computed an embedding that is not finite"))
        self._done += 1
        self._pooled = None
        if self._done < len(self._lengths):
            self._left = self._lengths[self._done]


class Embedder(TextComputer[PooledText, EmbeddingContext]):
    """Computes the texts of all embed calls of a lane."""

    def _make(self) -> EmbeddingContext:
        return self._engine.embedding_context(n_seq=MOST_TEXTS, n_ctx=self._n_ctx)

    def _take(self, context: EmbeddingContext, spans: Sequence[Span[PooledText]]) -> None:
        vectors = context.embeddings(spans[-1].stop)
        for text, start, stop in spans:
            text.take(vectors[start:stop])
