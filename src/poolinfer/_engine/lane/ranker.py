"""Documents to scores inside a lane.

A model with a classifier head gives a score for each sequence. A judge is asked a question that "yes" or "no"
answers; its score follows from the logits of both words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..._data.errors import EngineError
from ..._data.events import Done, Emit
from ..._data.specs import Ranking
from ..._data.text_requests import Rerank
from ..._data.text_results import DocumentScore
from ..engine_protocol import Batch, Engine, RankContext
from .text_computer import MOST_TEXTS, Span, Text, TextComputer, TextTask


class RankTask(TextTask):
    """One `Rerank` call: a prompt for each document as tokens, and the scores found so far.

    Args:
        job_id: the job's id.
        emit: takes the job's events.
        request: the call's request.
        prompts: the tokens of each document with the query.
        ranking: what the numbers are that the model gives.
    """

    def __init__(
        self, job_id: int, emit: Emit, request: Rerank, prompts: list[list[int]], ranking: Ranking
    ) -> None:
        super().__init__(job_id, emit, sum(map(len, prompts)))
        # Equal documents are computed once, and so have equal scores to the last bit.
        equal: dict[tuple[int, ...], list[int]] = {}
        for index, tokens in enumerate(prompts):
            equal.setdefault(tuple(tokens), []).append(index)
        self.waiting = [RankedText(self, indices, tokens) for tokens, indices in equal.items()]
        self.waiting.reverse()
        self._found: list[DocumentScore | None] = [None] * len(prompts)
        self._missing = len(prompts)
        self._as_given = request.raw_scores or ranking == "probability"

    def found(self, indices: Sequence[int], value: float, n_tokens: int) -> None:
        """Keep the score of one document, or of several equal ones; the last one ends the call."""
        if not math.isfinite(value):
            self.fail(EngineError("the engine computed a score that is not finite"))
            return
        score = DocumentScore(value if self._as_given else sigmoid(value), n_tokens)
        for index in indices:
            self._found[index] = score
        self._missing -= len(indices)
        if not self._missing:
            self.emit(Done(tuple(item for item in self._found if item is not None)))


class RankedText(Text):
    """The prompt for one document of a call, or for several equal ones.

    Args:
        task: the call.
        indices: the numbers of these documents among those of the call.
        tokens: the tokens of the prompt.
    """

    def __init__(self, task: RankTask, indices: Sequence[int], tokens: Sequence[int]) -> None:
        super().__init__(task, tokens)
        self._owner = task
        self._indices = indices

    def again(self) -> RankedText:
        """A copy of the prompt of which nothing is computed."""
        return RankedText(self._owner, self._indices, self.tokens)

    def score(self, value: float) -> None:
        """Take the score of the whole prompt."""
        self._owner.found(self._indices, value, len(self.tokens))


class Ranker(TextComputer[RankedText, RankContext]):
    """Computes the documents of all rerank calls of a lane."""

    def __init__(self, engine: Engine, n_ctx: int, *, alone: bool = False) -> None:
        super().__init__(engine, n_ctx, alone=alone)
        self._judge = engine.info.ranking == "judge"
        self._words: tuple[int, int] | None = None

    def _make(self) -> RankContext:
        return self._engine.rank_context(n_seq=MOST_TEXTS, n_ctx=self._n_ctx)

    def _add(self, batch: Batch, text: RankedText, tokens: Sequence[int]) -> None:
        whole = len(tokens) == text.n_pending
        # A head needs every row; a judge's answer follows from the last one.
        batch.add(text.sequence, text.computed, tokens, last=whole or not self._judge, rest=not self._judge)

    def _take(self, context: RankContext, spans: Sequence[Span[RankedText]]) -> None:
        for text, start, stop in spans:
            text.computed += stop - start
            if not text.n_pending:
                text.score(self._verdict(context, stop - 1) if self._judge else context.score(text.sequence))

    def _verdict(self, context: RankContext, row: int) -> float:
        """The logit of "yes" minus that of "no"."""
        if self._words is None:
            self._words = answer_words(self._engine)
        yes, no = self._words
        logits = context.logits(row)
        return float(logits[yes]) - float(logits[no])


def answer_words(engine: Engine) -> tuple[int, int]:
    """The tokens with which "yes" and "no" begin.

    Raises:
        EngineError: both begin with the same token.
    """
    yes, no = (engine.tokenize(word, add_special=False, parse_special=False)[:1] for word in ("yes", "no"))
    if not yes or not no or yes == no:
        raise EngineError('this model cannot be a judge: its words "yes" and "no" begin with the same token')
    return yes[0], no[0]


def sigmoid(value: float) -> float:
    """The probability that a logit stands for: 1 / (1 + exp(-value))."""
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)
