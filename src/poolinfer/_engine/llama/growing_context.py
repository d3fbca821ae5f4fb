"""A lane's context over llama.cpp's: one rectangle of sequences, replaced by a larger one when calls need that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, Protocol

from ..._data.errors import ModelError
from ..._data.specs import LaneSpec
from ..._system.logs import SafeLog
from ..engine_protocol import Batch, Decoder, EngineFault, Need, StepShare
from .capacity import Capacity, CapacityBounds, padded
from .passes import passes

if TYPE_CHECKING:
    import numpy
    import numpy.typing
    from typing_extensions import Self

_log = SafeLog()
# Copying the memory of so many tokens takes about half as long as computing a token, where it was measured.
_CELLS_PER_TOKEN = 128


class Rectangle(Decoder, Protocol):
    """A context of llama.cpp: so many sequences of so many tokens, whose memory was taken when it was made."""

    def logits(self, row: int, /) -> numpy.typing.NDArray[numpy.float32]:
        """See `Context.logits`."""
        ...

    def copy(self, source: int, target: int, /) -> None:
        """Make a sequence hold what another one holds, and nothing else."""
        ...

    def cut(self, sequence: int, length: int, /) -> None:
        """See `Context.cut`."""
        ...

    def adopt(self, other: Self, source: int, target: int, /) -> None:
        """Make a sequence hold what a sequence of another rectangle of the same model holds.

        Raises:
            EngineFault: the engine cannot.
        """
        ...


class GrowingContext:
    """The sequences of a lane in one rectangle at a time (`engine_protocol.Context`).

    Args:
        make: makes a rectangle for so many sequences of so many tokens; raises `ModelError` without memory for it.
        lane: how large rectangles may become.
        width: dimensions of the model.
        score_rows: most rows of one decode whose output is wanted, beyond one row of each sequence.

    Attributes:
        score_rows: most rows whose output is wanted, as given.
        separate: True, since each sequence is a KV stream of its own.

    Raises:
        ModelError: there is no memory for the smallest rectangle.
    """

    separate = True

    def __init__(
        self, make: Callable[[int, int], Rectangle], lane: LaneSpec, width: int, score_rows: int
    ) -> None:
        self.score_rows = score_rows
        most = Capacity(lane.slots, lane.n_ctx).tokens
        self._bounds = CapacityBounds(lane.slots, lane.n_ctx, max(padded(lane.n_ctx), lane.kv_tokens or most))
        self._make = make
        self._width = width
        self._stopping = False
        self._rectangle: Rectangle | None = None
        first = self._bounds.first()
        self._use(make(first.n_seq, first.n_ctx), first)

    @property
    def n_seq(self) -> int:
        return self._capacity.n_seq

    @property
    def share_cost(self) -> int:
        """Rows of a prompt. The whole memory of a sequence is copied, whatever the sequence holds."""
        return self._capacity.n_ctx // _CELLS_PER_TOKEN

    def can_hold(self, needs: Sequence[Need]) -> bool:
        n_seq, n_ctx = len(needs), max(needs).length
        return self._has_room(n_seq, n_ctx) or self._bounds.can_hold(n_seq, n_ctx)

    def _has_room(self, n_seq: int, n_ctx: int) -> bool:
        return n_seq <= self._capacity.n_seq and n_ctx <= self._capacity.n_ctx

    def fit(self, needs: Sequence[Need], residents: Callable[[], Sequence[Need]]) -> Mapping[int, int] | None:
        n_seq, n_ctx = len(needs), max(needs).length
        if self._has_room(n_seq, n_ctx):
            return None
        while True:
            wanted = self._bounds.grow(self._capacity, n_seq, n_ctx)
            try:
                new = self._make(wanted.n_seq, wanted.n_ctx)
            except ModelError:
                _log.warning("there is no memory for a context of %d x %d tokens", wanted.n_seq, wanted.n_ctx)
                if not (self._give_way(wanted) and self._bounds.can_hold(n_seq, n_ctx)):
                    raise
            else:
                return self._move(new, wanted, self._moves(wanted, needs, residents()))

    def _give_way(self, wanted: Capacity) -> bool:
        """Free the present rectangle, or else be content with half of what was tried; False for one sequence."""
        self._capacity = Capacity(0, 0)
        if self._rectangle is not None:
            self.close()
        elif wanted.n_seq == 1:
            return False
        else:
            self._bounds = self._bounds.halved(wanted)
        return True

    def _moves(self, wanted: Capacity, needs: Sequence[Need], residents: Sequence[Need]) -> dict[int, int]:
        """Which sequences go into another rectangle, and their numbers there: the same where possible."""
        if self._rectangle is None:
            return {}
        held = sorted(need.sequence for need in needs if need.sequence >= 0)
        held += [resident.sequence for resident in residents if resident.length <= wanted.n_ctx]
        del held[wanted.n_seq :]
        stay = {number for number in held if number < wanted.n_seq}
        free = iter([number for number in range(wanted.n_seq) if number not in stay])
        return {number: number if number in stay else next(free) for number in held}

    def _move(self, new: Rectangle, capacity: Capacity, moves: dict[int, int]) -> dict[int, int]:
        """Go on in another rectangle, with some sequences of the present one; returns those that could move."""
        old = self._rectangle
        self._use(new, capacity)
        if old is None:
            return {}
        try:
            for source, target in moves.items():
                new.adopt(old, source, target)
        except (EngineFault, MemoryError) as fault:
            _log.warning("%s; its calls are computed again", str(fault) or "there is no memory for a copy")
            new.clear(-1)
            return {}
        finally:
            old.close()
        return moves

    def _use(self, rectangle: Rectangle, capacity: Capacity) -> None:
        self._rectangle, self._capacity = rectangle, capacity
        # `abort` may have come on another thread before the rectangle could be seen there.
        rectangle.abort(self._stopping)
        # The rectangle's own methods, since a detour would cost time for each token.
        self.decode: Callable[[Batch], None] = rectangle.decode
        self.logits: Callable[[int], numpy.typing.NDArray[numpy.float32]] = rectangle.logits

    def share(self, source: int, target: int, length: int) -> None:
        # Of a KV stream, only the whole can be copied to another one.
        rectangle = self._present()
        rectangle.copy(source, target)
        rectangle.cut(target, length)

    def cut(self, sequence: int, length: int) -> None:
        self._present().cut(sequence, length)

    def _present(self) -> Rectangle:
        if self._rectangle is None:
            raise EngineFault("the context has no memory")
        return self._rectangle

    def clear(self, sequence: int) -> None:
        if self._rectangle is not None:
            self._rectangle.clear(sequence)

    def passes(self, shares: Sequence[StepShare]) -> list[list[tuple[int, int]]]:
        return passes(shares, self._width)

    def abort(self, on: bool) -> None:
        self._stopping = on
        rectangle = self._rectangle
        if rectangle is not None:
            rectangle.abort(on)

    def close(self) -> None:
        rectangle, self._rectangle = self._rectangle, None
        if rectangle is not None:
            self.decode = self.logits = _gone
            rectangle.close()


def _gone(*_: object) -> NoReturn:
    raise EngineFault("the context has no memory")
