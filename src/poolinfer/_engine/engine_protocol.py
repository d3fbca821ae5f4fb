"""What a lane needs of an engine. `llama.py` is the real one, `poolinfer.testing.FakeEngine` the fake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .._data.requests import Generation, Pooling
from .tokenizer import Tokenizer, TokenizerInfo

if TYPE_CHECKING:
    import numpy
    import numpy.typing
    from typing_extensions import Self


class EngineFault(Exception):
    """A decode failed; every sequence of its batch is in doubt and must be cleared."""


class EngineAborted(EngineFault):
    """A decode was stopped by `Context.abort`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo(TokenizerInfo):
    """What an engine knows of its model.

    Attributes:
        n_embd: width of the model.
        generates: whether the model can generate text (False for embedding models such as BERT).
        causal: whether a token attends only to earlier ones; if not, a text is computed in one piece.
        pooling: how the model's metadata says that token vectors become one.
        kv_reuse: whether a sequence's KV can be copied and cut (not with recurrent layers or sliding windows).
    """

    n_embd: int = 1024
    generates: bool = True
    causal: bool = True
    pooling: Pooling = "mean"
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
        self.tokens.extend(tokens)
        self.positions.extend(range(position, position + n))
        self.sequences.extend([sequence] * n)
        self.outputs.extend([rest] * (n - 1))
        self.outputs.append(last)
        return len(self.tokens) - 1


class Sampler(Protocol):
    """One call's sampling chain; owned by one slot."""

    def close(self) -> None:
        """Free it; idempotent."""
        ...


class Context(Protocol):
    """Sequences with KV memory, used by one thread (but for `abort`)."""

    @property
    def n_batch(self) -> int:
        """Most rows of one decode."""
        ...

    def decode(self, batch: Batch) -> None:
        """Compute the rows.

        Raises:
            EngineAborted: `abort(True)` was called.
            EngineFault: anything else went wrong.
        """
        ...

    def sample(self, row: int, sampler: Sampler) -> int:
        """Choose the next token from the logits of a row of the last decode."""
        ...

    def logits(self, row: int) -> numpy.typing.NDArray[numpy.float32]:
        """The logits of a row of the last decode; a view, valid until the next one."""
        ...

    def embeddings(self, rows: int) -> numpy.typing.NDArray[numpy.float32]:
        """Vectors of the first rows of the last decode, shape (rows, width); embedding contexts only."""
        ...

    def clear(self, sequence: int) -> None:
        """Forget a sequence (-1: all of them)."""
        ...

    def copy(self, source: int, target: int) -> None:
        """Make a sequence hold what another one holds, and nothing else; only where `EngineInfo.kv_reuse`."""
        ...

    def cut(self, sequence: int, length: int) -> None:
        """Forget a sequence's tokens from position `length` on; only where `EngineInfo.kv_reuse`.

        Raises:
            EngineFault: the engine cannot.
        """
        ...

    def adopt(self, other: Self, source: int, target: int) -> None:
        """Make a sequence hold what a sequence of another context of the same model holds.

        Raises:
            EngineFault: the engine cannot.
        """
        ...

    def abort(self, on: bool) -> None:
        """Make the running decode stop soon, where the engine can; thread-safe. Off again with False."""
        ...

    def close(self) -> None:
        """Free it; idempotent."""
        ...


class Engine(Tokenizer, Protocol):
    """A loaded model; its methods may be called from any thread."""

    @property
    def info(self) -> EngineInfo:
        """What it knows of its model."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to the output; empty for control tokens."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation."""
        ...

    def sampler(self, request: Generation, seed: int) -> Sampler:
        """A sampling chain for a request."""
        ...

    def context(self, *, n_seq: int, n_ctx: int, embeddings: bool = False) -> Context:
        """A context for `n_seq` sequences of `n_ctx` tokens (embeddings: `n_ctx` tokens in all).

        Raises:
            ModelError: it cannot be made (memory).
        """
        ...

    def close(self) -> None:
        """Free the model, or this user's share of it; idempotent."""
        ...
