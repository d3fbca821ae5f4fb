"""The contexts and samplers of `FakeEngine`: lists of tokens, and the knobs that make steps wait or fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._data.requests import Generation
from .._engine.engine_protocol import Batch, EngineAborted, EngineFault, Sampler

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    from ._fake_engine import FakeEngine

_WIDTH = 4


class FakeSampler:
    """Counts one call's tokens (`poolinfer._engine.engine_protocol.Sampler`).

    Attributes:
        request: what it was made for.
        seed: its seed.
        drawn: tokens sampled so far.
    """

    def __init__(self, request: Generation, seed: int, on_close: Callable[[], None]) -> None:
        self.request: Generation = request
        self.seed: int = seed
        self.drawn: int = 0
        self._on_close: Callable[[], None] | None = on_close

    def close(self) -> None:
        """Free it; idempotent."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


class FakeContext:
    """Holds the tokens of each sequence (`poolinfer._engine.engine_protocol.Context`).

    As in llama.cpp, copying changes at once how many tokens a sequence has, but which ones only at the next decode.

    Attributes:
        n_seq: how many sequences it has.
        n_ctx: tokens that each of them can hold.
        closed: whether it was.
        embeddings_wanted: whether it was made for embeddings.
        copies: sequences copied so far, as (source, target).
    """

    def __init__(self, engine: FakeEngine, n_seq: int, n_ctx: int, embeddings: bool) -> None:
        self.closed: bool = False
        self.embeddings_wanted = embeddings
        self.n_seq: int = n_seq
        self.n_ctx: int = n_ctx
        self.copies: list[tuple[int, int]] = []
        self._cells: list[list[int]] = [[] for _ in range(n_seq)]
        self._length = [0] * n_seq
        self._uncopied: list[tuple[int, int]] = []
        self._engine = engine
        self._stop = threading.Event()
        self._batch = Batch()
        self._chosen: dict[int, int] = {}

    @property
    def n_batch(self) -> int:
        """Most rows of one decode."""
        return 8192

    def held(self, sequence: int) -> list[int]:
        """The tokens of a sequence."""
        return self._cells[sequence][: self._length[sequence]]

    def decode(self, batch: Batch) -> None:
        """Hold the rows, after what the knobs say; a gap in a sequence is a fault."""
        for source, target in self._uncopied:
            self._cells[target] = list(self._cells[source])
        self._uncopied.clear()
        if not len(batch):
            raise EngineFault("there is nothing to decode")
        number = self._engine.note_step(len(batch))
        self._wait()
        if number == self._engine.raise_after:
            raise EngineFault("the fake engine was told to fail")
        for token, position, sequence in zip(batch.tokens, batch.positions, batch.sequences, strict=True):
            n = self._length[sequence]
            if position != n or n >= self.n_ctx:
                raise EngineFault(f"sequence {sequence} has {n} of {self.n_ctx} tokens, not {position}")
            self._cells[sequence][n:] = [token]
            self._length[sequence] = n + 1
        self._batch, self._chosen = batch, {}

    def _wait(self) -> None:
        engine = self._engine
        stop = self._stop if engine.honours_abort else threading.Event()
        if engine.step_delay:
            stop.wait(engine.step_delay)
        while engine.hang is not None and not stop.is_set() and not engine.hang.wait(0.002):
            pass
        if stop.is_set():
            raise EngineAborted("the step was stopped")

    def sample(self, row: int, sampler: Sampler) -> int:
        """The next token of the echo; `row` must have had its output wanted."""
        if not isinstance(sampler, FakeSampler) or not self._batch.outputs[row]:
            raise EngineFault(f"row {row} has no output, or the sampler is not this engine's")
        held = self.held(self._batch.sequences[row])
        token = self._engine.answer(held[: len(held) - sampler.drawn], sampler.drawn)
        sampler.drawn += 1
        self._chosen[row] = token
        return token

    def logits(self, row: int) -> numpy.typing.NDArray[numpy.float32]:
        """Zeros, but for the token that was sampled from the row."""
        import numpy

        logits: Any = numpy.zeros(self._engine.info.n_vocab, "f4")
        logits[self._chosen.get(row, 0)] = 10.0
        return logits  # type: ignore[no-any-return]

    def embeddings(self, rows: int) -> numpy.typing.NDArray[numpy.float32]:
        """Vectors of token, position and a one."""
        import numpy

        vectors: Any = numpy.ones((rows, _WIDTH), "f4")
        vectors[:, 0] = self._batch.tokens[:rows]
        vectors[:, 1] = self._batch.positions[:rows]
        return vectors * float("nan") if self._engine.nan_embeddings else vectors  # type: ignore[no-any-return]

    def clear(self, sequence: int) -> None:
        """Forget a sequence, or all."""
        for number in range(len(self._length)) if sequence < 0 else [sequence]:
            self._length[number] = 0

    def copy(self, source: int, target: int) -> None:
        """Make a sequence hold what another one holds."""
        self._check_reuse()
        self.copies.append((source, target))
        self._uncopied.append((source, target))
        self._length[target] = self._length[source]

    def cut(self, sequence: int, length: int) -> None:
        """Forget a sequence's last tokens."""
        self._check_reuse()
        self._length[sequence] = min(length, self._length[sequence])

    def adopt(self, other: FakeContext, source: int, target: int) -> None:
        """Make a sequence hold what another context's holds; one that is too short for it is a fault."""
        held = other.held(source)
        if other.closed or len(held) > self.n_ctx:
            raise EngineFault(f"{len(held)} tokens of a context cannot go into {self.n_ctx}")
        self._cells[target], self._length[target] = held, len(held)

    def _check_reuse(self) -> None:
        if not self._engine.info.kv_reuse:
            raise EngineFault("this fake engine was made without reuse")

    def abort(self, on: bool) -> None:
        """Stop a step that waits, where the engine honours that."""
        if on:
            self._stop.set()
        else:
            self._stop.clear()

    def close(self) -> None:
        """Free it; idempotent."""
        self.closed = True
