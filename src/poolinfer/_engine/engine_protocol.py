"""What a lane needs of an engine: `LlamaEngine` is the real one, `poolinfer.testing.FakeEngine` the fake.

An engine's context owns the KV memory. A lane decides who computes, who waits and whose KV goes first; it asks the
context what memory there is, and has the context share, cut and drop sequences. So one lane serves a rectangle of
equally long sequences (llama.cpp) and a pool of blocks (paged KV) alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .._data.requests import Generation
from .._data.specs import LaneSpec, Ranking
from .._data.text_requests import Pooling
from .tokenizer import Tokenizer, TokenizerInfo

if TYPE_CHECKING:
    import numpy
    import numpy.typing


class EngineFault(Exception):
    """A decode failed; every sequence of its batch is in doubt, and is to be cleared."""


class EngineAborted(EngineFault):
    """A decode was stopped by `Context.abort`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo(TokenizerInfo):
    """What an engine knows of its model.

    Attributes:
        generates: whether the model can generate text (False for embedding models such as BERT).
        causal: whether a token attends only to earlier ones; if not, a text is computed in one piece.
        pooling: how the model's metadata says that token vectors become one.
        width: numbers in the vector of a text; 0 when nobody knows.
        ranking: how the model ranks documents; None for one that does not.
        query_prefix: what is put before a text to embed that is a query; None where nobody has said.
        document_prefix: what is put before a text to embed that is a document; None where nobody has said.
        kv_reuse: whether a sequence's KV can be copied and cut (not with recurrent layers or sliding windows).
    """

    generates: bool = True
    causal: bool = True
    pooling: Pooling = "mean"
    width: int = 0
    ranking: Ranking | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    kv_reuse: bool = True


@dataclass(slots=True)
class Batch:
    """Rows of one engine step: token, position, sequence, and whether its output is wanted."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    outputs: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    def add(
        self, sequence: int, position: int, tokens: Sequence[int], *, last: bool, rest: bool = False
    ) -> int:
        """Append consecutive tokens of one sequence; its last row's index.

        Output is wanted of the last row if `last`, and of the rows before it if `rest`.
        """
        n = len(tokens)
        if n == 1:
            self.tokens.append(tokens[0])
            self.positions.append(position)
            self.sequences.append(sequence)
            self.outputs.append(last)
            return len(self.tokens) - 1
        self.tokens.extend(tokens)
        self.positions.extend(range(position, position + n))
        self.sequences.extend([sequence] * n)
        self.outputs.extend([rest] * (n - 1))
        self.outputs.append(last)
        return len(self.tokens) - 1


class Need(NamedTuple):
    """What one call needs of a context's memory.

    Attributes:
        length: tokens that the call's sequence must have room for.
        sequence: number of that sequence; -1 if the call has none yet.
        source: number of the sequence that the call is going to share with; -1 for none. Where sequences are
            separate, it is always -1.
        shared: how many tokens it is going to share.
    """

    length: int
    sequence: int = -1
    source: int = -1
    shared: int = 0


class StepShare(NamedTuple):
    """What one sequence computes in a step.

    Attributes:
        sequence: number of the sequence.
        computed: tokens that the sequence holds before the step.
        rows: tokens that are computed.
        entering: whether these are of a prompt.
    """

    sequence: int
    computed: int
    rows: int
    entering: bool


class Sampler(Protocol):
    """Chooses one call's tokens; owned by one slot."""

    def sample(self, logits: numpy.typing.NDArray[numpy.float32], /) -> int:
        """Choose a token from a row of logits, and none whose logit is minus infinity.

        The choice is not noted. So a caller may refuse it, and sample again once the row is masked.

        Raises:
            EngineFault: the row holds a NaN, or nothing but minus infinity.
        """
        ...

    def accept(self, token: int, /) -> None:
        """Note the token that was chosen, for what depends on earlier ones (penalties)."""
        ...

    def close(self) -> None:
        """Free it; idempotent."""
        ...


class Decoder(Protocol):
    """Computes rows; used by one thread (but for `abort`)."""

    def decode(self, batch: Batch, /) -> None:
        """Compute the rows.

        Raises:
            EngineAborted: `abort(True)` was called.
            EngineFault: anything else went wrong.
        """
        ...

    def clear(self, sequence: int, /) -> None:
        """Forget a sequence (-1: all of them)."""
        ...

    def abort(self, on: bool, /) -> None:
        """Make the running decode stop soon, where the engine can; thread-safe. Off again with False."""
        ...

    def close(self) -> None:
        """Free it; idempotent."""
        ...


class TextContext(Decoder, Protocol):
    """Computes whole texts, several at a time."""

    @property
    def n_batch(self) -> int:
        """Most rows of one decode."""
        ...


class EmbeddingContext(TextContext, Protocol):
    """Computes texts to embed."""

    def embeddings(self, rows: int, /) -> numpy.typing.NDArray[numpy.float32]:
        """Vectors of the first rows of the last decode, shape (rows, width)."""
        ...


class RankContext(TextContext, Protocol):
    """Computes documents to rank, each with its query."""

    def score(self, sequence: int, /) -> float:
        """What the classifier head gives a sequence whose last row was in the last decode."""
        ...

    def logits(self, row: int, /) -> numpy.typing.NDArray[numpy.float32]:
        """The logits of a row of the last decode, as a judge gives them; a view, valid until the next one."""
        ...


class Context(Decoder, Protocol):
    """Generates text, and owns the KV memory of all sequences. Its attributes change in `fit` only.

    Attributes:
        n_seq: number of sequences; they are numbered from 0.
        share_cost: how long `share` takes, in rows of a prompt.
        score_rows: most rows of one decode whose output is wanted, beyond one row of each sequence.
        separate: whether each sequence has memory of its own. Then sharing copies, and sequences are computed
            together only where their numbers follow one another.
    """

    @property
    def n_seq(self) -> int: ...

    @property
    def share_cost(self) -> int: ...

    @property
    def score_rows(self) -> int: ...

    @property
    def separate(self) -> bool: ...

    def can_hold(self, needs: Sequence[Need], /) -> bool:
        """Whether there is memory for all of these together, without residents; always True for one call."""
        ...

    def fit(
        self, needs: Sequence[Need], residents: Callable[[], Sequence[Need]], /
    ) -> Mapping[int, int] | None:
        """Make room for all of these together: grow, move, or drop residents.

        Args:
            needs: what `can_hold` said yes to.
            residents: returns the sequences that belong to no call, the least wanted last; `length` is what each
                holds. It is called only where some of them may have to go.

        Returns None if nothing changed. Otherwise, the new numbers of all sequences that hold what they held, by
        their old numbers; the others are empty.

        Raises:
            ModelError: there is no memory after all; every sequence is empty.
        """
        ...

    def share(self, source: int, target: int, length: int, /) -> None:
        """Make a sequence hold the first `length` tokens of another one; only where `EngineInfo.kv_reuse`."""
        ...

    def cut(self, sequence: int, length: int, /) -> None:
        """Forget a sequence's tokens from position `length` on; only where `EngineInfo.kv_reuse`.

        Raises:
            EngineFault: the engine cannot.
        """
        ...

    def passes(self, shares: Sequence[StepShare], /) -> list[list[tuple[int, int]]]:
        """The decodes that a step consists of, each as a list of (index of a share, rows of it).

        The shares are in the order of their sequences. Slots get their tokens after each decode.
        """
        ...

    def logits(self, row: int, /) -> numpy.typing.NDArray[numpy.float32]:
        """The logits of a row of the last decode; a view that may be written to, valid until the next decode."""
        ...


class Engine(Tokenizer, Protocol):
    """A loaded model; its methods may be called from any thread."""

    @property
    def info(self) -> EngineInfo:
        """What the engine knows of its model."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to the output; empty for control tokens."""
        ...

    def spelling(self, token: int) -> str:
        """How a control token is spelled; ``""`` for all other tokens."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation."""
        ...

    @property
    def end_ids(self) -> frozenset[int]:
        """All tokens of which `is_end` is true."""
        ...

    def sampler(self, request: Generation, seed: int) -> Sampler:
        """A sampling chain for a request."""
        ...

    def context(self, lane: LaneSpec) -> Context:
        """A context for the calls of a lane.

        Raises:
            ModelError: there is no memory for the smallest one.
        """
        ...

    def embedding_context(self, *, n_seq: int, n_ctx: int) -> EmbeddingContext:
        """A context for `n_seq` texts at a time, of `n_ctx` tokens in all.

        Raises:
            ModelError: there is no memory for it.
        """
        ...

    def rank_context(self, *, n_seq: int, n_ctx: int) -> RankContext:
        """A context for `n_seq` documents at a time, of `n_ctx` tokens in all; only where `EngineInfo.ranking`.

        Raises:
            ModelError: there is no memory for it.
        """
        ...

    def detokenize(self, tokens: Sequence[int], *, special: bool) -> bytes:
        """The text of token ids, all of them of the vocabulary; `special` shows control tokens as they are spelled.

        A space that the tokenizer puts before every text is taken off again.
        """
        ...

    def close(self) -> None:
        """Free the model, or this user's share of it; idempotent."""
        ...
