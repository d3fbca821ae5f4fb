"""The contexts of `FakeEngine`: lists of tokens, and the settings that make steps wait or fail."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from .._engine.engine_protocol import Batch, EngineAborted, EngineFault, EngineInfo

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    from ._fake_sampler import FakeLogits

#: Numbers in the vector of a text.
FAKE_WIDTH = 4
#: Rows of one decode whose output may be wanted, beyond one of each sequence.
SCORE_ROWS = 16


class FakeScript(Protocol):
    """What a fake context asks of its engine; `FakeEngine` says what each of these does."""

    step_delay: float
    raise_after: int | None
    hang: threading.Event | None
    honours_abort: bool
    nan_embeddings: bool

    @property
    def info(self) -> EngineInfo:
        """What the engine knows of its model."""
        ...

    def note_step(self, rows: int) -> int:
        """Count a step of so many rows; its number, from 1."""
        ...


class FakeContext:
    """Steps by the script of a fake engine; how tokens are held is for the classes that inherit it.

    Attributes:
        closed: whether the context was closed.
        embeds: whether it was made for texts to embed.
        copies: sequences of which another one was made so far, as (source, target).
    """

    def __init__(self, script: FakeScript) -> None:
        self.closed: bool = False
        self.embeds: bool = False
        self.copies: list[tuple[int, int]] = []
        self._script = script
        self._stop = threading.Event()
        self._batch = Batch()
        self._rows: dict[int, FakeLogits] = {}

    def held(self, sequence: int) -> list[int]:
        """The tokens of a sequence."""
        raise NotImplementedError

    def _append(self, sequence: int, position: int, token: int) -> None:
        """Hold one more token of a sequence; another position than the next one is a fault."""
        raise NotImplementedError

    def decode(self, batch: Batch) -> None:
        """Hold the rows, after the waiting or failing that the settings ask for."""
        if not len(batch):
            raise EngineFault("there is nothing to decode")
        if sum(batch.outputs) > SCORE_ROWS + len(set(batch.sequences)) and not self.embeds:
            raise EngineFault(f"the output of {sum(batch.outputs)} rows is wanted, which is too many")
        number = self._script.note_step(len(batch))
        self._wait()
        if number == self._script.raise_after:
            raise EngineFault("the fake engine was told to fail")
        for token, position, sequence in zip(batch.tokens, batch.positions, batch.sequences, strict=True):
            self._append(sequence, position, token)
        self._batch, self._rows = batch, {}

    def _wait(self) -> None:
        script = self._script
        stop = self._stop if script.honours_abort else threading.Event()
        if script.step_delay:
            stop.wait(script.step_delay)
        while script.hang is not None and not stop.is_set() and not script.hang.wait(0.002):
            pass
        if stop.is_set():
            raise EngineAborted("the step was stopped")

    def logits(self, row: int) -> FakeLogits:
        """Zeros, which know the tokens of the row's sequence; `row` must have had its output wanted."""
        from ._fake_sampler import FakeLogits

        if not self._batch.outputs[row]:
            raise EngineFault(f"row {row} has no output")
        if row not in self._rows:
            self._rows[row] = FakeLogits(self._script.info.n_vocab, self.held(self._batch.sequences[row]))
        return self._rows[row]

    def embeddings(self, rows: int) -> numpy.typing.NDArray[numpy.float32]:
        """Vectors of token, position and a one."""
        import numpy

        vectors: Any = numpy.ones((rows, FAKE_WIDTH), "f4")
        vectors[:, 0] = self._batch.tokens[:rows]
        vectors[:, 1] = self._batch.positions[:rows]
        return vectors * float("nan") if self._script.nan_embeddings else vectors  # type: ignore[no-any-return]

    def _check_reuse(self) -> None:
        if not self._script.info.kv_reuse:
            raise EngineFault("this fake engine was made without reuse")

    def abort(self, on: bool) -> None:
        """Stop a step that waits, where the engine honours that."""
        if on:
            self._stop.set()
        else:
            self._stop.clear()

    def close(self) -> None:
        """Free the context; idempotent."""
        self.closed = True


class FakeRectangle(FakeContext):
    """So many sequences of so many tokens, as llama.cpp's contexts are (`Rectangle` of `growing_context`).

    As in llama.cpp, copying changes at once how many tokens a sequence has, but which ones only at the next decode.

    Attributes:
        n_seq: how many sequences it has.
        n_ctx: tokens that each of them can hold.
    """

    def __init__(self, script: FakeScript, n_seq: int, n_ctx: int, *, embeds: bool = False) -> None:
        super().__init__(script)
        self.embeds = embeds
        self.n_seq: int = n_seq
        self.n_ctx: int = n_ctx
        self._cells: list[list[int]] = [[] for _ in range(n_seq)]
        self._length = [0] * n_seq
        self._uncopied: list[tuple[int, int]] = []

    @property
    def n_batch(self) -> int:
        """Most rows of one decode."""
        return 8192

    def held(self, sequence: int) -> list[int]:
        """The tokens of a sequence."""
        return self._cells[sequence][: self._length[sequence]]

    def decode(self, batch: Batch) -> None:
        """Make the copies that were asked for, then hold the rows."""
        for source, target in self._uncopied:
            self._cells[target] = list(self._cells[source])
        self._uncopied.clear()
        super().decode(batch)

    def _append(self, sequence: int, position: int, token: int) -> None:
        n = self._length[sequence]
        if position != n or n >= self.n_ctx:
            raise EngineFault(f"sequence {sequence} has {n} of {self.n_ctx} tokens, not {position}")
        self._cells[sequence][n:] = [token]
        self._length[sequence] = n + 1

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

    def adopt(self, other: FakeRectangle, source: int, target: int) -> None:
        """Make a sequence hold what another context's holds; one that is too short for it is a fault."""
        held = other.held(source)
        if other.closed or len(held) > self.n_ctx:
            raise EngineFault(f"{len(held)} tokens of a context cannot go into {self.n_ctx}")
        self._cells[target], self._length[target] = held, len(held)


class FakeRankContext(FakeRectangle):
    """Gives each sequence a score that follows from its tokens (`RankContext`): a thousandth of their sum."""

    def __init__(self, script: FakeScript, n_seq: int, n_ctx: int) -> None:
        super().__init__(script, n_seq, n_ctx, embeds=True)

    def score(self, sequence: int) -> float:
        """What a classifier head gives."""
        return float("nan") if self._script.nan_embeddings else sum(self.held(sequence)) / 1000

    def logits(self, row: int) -> FakeLogits:
        """Zeros, but for the token of a "y", which has the score of the row's sequence."""
        logits = super().logits(row)
        logits[ord("y")] = self.score(self._batch.sequences[row])
        return logits
