"""Computes whole texts inside a lane: a context of its own, and one batch in each step.

`Embedder` and `Ranker` say what becomes of a text that is computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar, cast

from ..._data.events import Emit, Started
from ..engine_protocol import Batch, Engine, TextContext
from .slot import Task

#: Texts that are computed together.
MOST_TEXTS = 32


class TextTask(Task):
    """A call whose texts are computed, and which generates nothing.

    Attributes:
        waiting: the texts of which nothing is computed, the next one last.
    """

    def __init__(self, job_id: int, emit: Emit, n_tokens: int) -> None:
        super().__init__(job_id, emit)
        self.waiting: list[Text] = []
        self._n_tokens = n_tokens

    def begin(self) -> None:
        """Emit that the call got its slot."""
        self.emit(Started(self._n_tokens))


class Text(ABC):
    """One text of a call, as far as it is computed.

    Attributes:
        task: the call.
        tokens: the tokens of the text.
        computed: how many of them are computed.
        sequence: number of its sequence; -1 while it has none.
    """

    def __init__(self, task: TextTask, tokens: Sequence[int]) -> None:
        self.task = task
        self.tokens = tokens
        self.computed = 0
        self.sequence = -1

    @property
    def n_pending(self) -> int:
        """Tokens still to be computed."""
        return len(self.tokens) - self.computed

    @abstractmethod
    def again(self) -> Text:
        """A copy of the text of which nothing is computed."""


_TextT = TypeVar("_TextT", bound=Text)
_ContextT = TypeVar("_ContextT", bound=TextContext)


class Span(NamedTuple, Generic[_TextT]):
    """The rows of one text in a batch, from `start` to before `stop`."""

    text: _TextT
    start: int
    stop: int


class TextComputer(ABC, Generic[_TextT, _ContextT]):
    """Computes the texts of all calls of one kind together, oldest call first.

    Args:
        engine: what computes.
        n_ctx: tokens of all texts that are computed together.
        alone: whether each text is computed alone. Its result then has the same bits whatever its neighbours are.

    Attributes:
        tasks: the calls, oldest first.
    """

    def __init__(self, engine: Engine, n_ctx: int, *, alone: bool = False) -> None:
        self.tasks: list[TextTask] = []
        self._engine = engine
        self._n_ctx = n_ctx
        self._most = 1 if alone else MOST_TEXTS
        self._context: _ContextT | None = None
        self._open: list[_TextT] = []
        self._free = list(range(MOST_TEXTS))

    @abstractmethod
    def _make(self) -> _ContextT:
        """Make the context."""

    @abstractmethod
    def _take(self, context: _ContextT, spans: Sequence[Span[_TextT]]) -> None:
        """Give the texts of a batch what was computed of them."""

    def step(self, budget: int) -> int:
        """Compute up to `budget` rows; returns how many there were.

        Raises:
            EngineFault: the step failed; the lane then calls `reset`.
        """
        self._forget_ended()
        self._admit()
        context = self._made()
        batch, spans = self._plan(context, budget)
        if not len(batch):
            return 0
        context.decode(batch)
        self._take(context, spans)
        self._forget_ended()
        self.tasks = [task for task in self.tasks if not task.ended]
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
        self._free = list(range(MOST_TEXTS))
        if self._context is not None:
            self._context.clear(-1)

    def close(self) -> None:
        """Free the context; idempotent."""
        self.tasks.clear()
        if self._context is not None:
            self._context.close()
            self._context = None

    def _made(self) -> _ContextT:
        if self._context is None:
            self._context = self._make()
        return self._context

    def _forget_ended(self) -> None:
        for text in [text for text in self._open if text.task.ended or not text.n_pending]:
            self._open.remove(text)
            self._free.append(text.sequence)
            self._made().clear(text.sequence)

    def _admit(self) -> None:
        room = self._n_ctx - sum(len(text.tokens) for text in self._open)
        for task in self.tasks:
            while task.waiting:
                if len(self._open) == self._most or len(task.waiting[-1].tokens) > room:
                    return
                # A computer has tasks of one kind, and a task has texts of one kind.
                text = cast("_TextT", task.waiting.pop())
                text.sequence = self._free.pop()
                room -= len(text.tokens)
                self._open.append(text)

    def _plan(self, context: _ContextT, budget: int) -> tuple[Batch, list[Span[_TextT]]]:
        batch, spans = Batch(), list[Span[_TextT]]()
        causal = self._engine.info.causal
        room = min(budget, context.n_batch) if causal else context.n_batch
        for text in self._open:
            n = min(text.n_pending, room - len(batch))
            if n <= 0 or (not causal and n < text.n_pending):
                continue
            start = len(batch)
            tokens = text.tokens[text.computed : text.computed + n]
            self._add(batch, text, tokens)
            spans.append(Span(text, start, len(batch)))
        return batch, spans

    def _add(self, batch: Batch, text: _TextT, tokens: Sequence[int]) -> None:
        """Add the next tokens of a text to a batch; the output of all of them is wanted."""
        batch.add(text.sequence, text.computed, tokens, last=True, rest=True)
