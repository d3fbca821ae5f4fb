"""The samplers of `FakeEngine`, and the rows of logits that they sample from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import numpy.typing

from .._data.requests import Generation
from .._engine.engine_protocol import EngineFault


class FakeLogits(numpy.ndarray[Any, "numpy.dtype[numpy.float32]"]):
    """A row of zeros that knows the tokens of its sequence.

    Attributes:
        held: the tokens.
    """

    held: list[int]

    def __new__(cls, n_vocab: int, held: list[int]) -> FakeLogits:
        """A new row."""
        row = numpy.zeros(n_vocab, "f4").view(cls)
        row.held = held
        return row

    def __array_finalize__(self, source: object) -> None:
        """Let copies know the tokens, too."""
        self.held = getattr(source, "held", [])


class FakeSampler:
    """Chooses the next token of an answer (`poolinfer._engine.engine_protocol.Sampler`).

    Where that token is masked, it chooses the first one that is not.

    Attributes:
        request: the request of the call.
        seed: the seed of the call.
        accepted: the tokens that were accepted so far.
    """

    def __init__(
        self,
        request: Generation,
        seed: int,
        answer: Callable[[list[int], int], int],
        on_close: Callable[[], None],
    ) -> None:
        self.request: Generation = request
        self.seed: int = seed
        self.accepted: list[int] = []
        self._answer = answer
        self._on_close: Callable[[], None] | None = on_close

    def sample(self, logits: numpy.typing.NDArray[numpy.float32]) -> int:
        """The token that the answer has next. The row says from now on that it is the most likely one."""
        if not isinstance(logits, FakeLogits):
            raise EngineFault("the row is not of a context of this engine")
        n = len(self.accepted)
        token = self._answer(logits.held[: len(logits.held) - n], n)
        if logits[token] == -numpy.inf:
            token = int(logits.argmax())
        if logits[token] == -numpy.inf:
            raise EngineFault("every token of the row is masked")
        logits[token] = 10.0
        return token

    def accept(self, token: int) -> None:
        """Note a token."""
        self.accepted.append(token)

    def close(self) -> None:
        """Free the sampler; idempotent."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()
