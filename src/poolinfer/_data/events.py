"""What travels between a pool and an executor: a `Job` down, events up. Frozen plain data (law L9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .errors import PoolinferError, error_from_data, error_to_data
from .requests import Request
from .results import Chunk, Embedding, Response
from .text_results import AppliedTemplate, DocumentScore

#: What answers a request: of an `Embed` and a `Rerank`, an item for each text; of a `Tokenize`, the ids.
Result: TypeAlias = (
    Response | tuple[Embedding, ...] | tuple[DocumentScore, ...] | tuple[int, ...] | str | AppliedTemplate
)


@dataclass(frozen=True, slots=True)
class Job:
    """One checked and normalised request on its way to an executor.

    Attributes:
        id: unique within the pool.
        request: what to compute. The prompt of a `Chat` is a tuple of message dicts, and every list is a tuple. Its
            `n` is 1: each answer of a call is a job.
        group: the same number, which no other job has, for all jobs of one call; 0 for a job by itself. They have
            the same prompt, so that one lane had better run them.
    """

    id: int
    request: Request
    group: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """The job has a slot; comes at most once, first.

    Attributes:
        prompt_tokens: tokens of the job's prompt.
    """

    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The job ended well; the last event. Of the timings of its result, a pool uses only `prefill` and `decode`.

    Attributes:
        result: what answers the job's request. A `Chat` and a `Raw` have a `Response`. An `Embed` has embeddings in
            the order of the texts, and a `Rerank` has scores. A `Tokenize` has the ids, a `Detokenize` the text,
            and an `ApplyTemplate` an `AppliedTemplate`.
    """

    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended badly; the last event.

    Attributes:
        kind: name of the error class.
        message: what happened.
        detail: the error's attributes.
    """

    kind: str
    message: str
    detail: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, error: PoolinferError) -> Failed:
        """The event that carries an error."""
        return cls(*error_to_data(error))

    def error(self) -> PoolinferError:
        """The error that this event carries."""
        return error_from_data(self.kind, self.message, self.detail)


Event: TypeAlias = Started | Chunk | Done | Failed
"""What an executor says of a job, in the order ``Started? Chunk* (Done | Failed)``."""

Emit: TypeAlias = Callable[[Event], None]
"""Takes one event of one job. It is called on the executor's threads and must not block."""
