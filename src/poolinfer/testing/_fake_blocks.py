"""Paged KV for `FakeEngine`: a pool of blocks, which sequences that begin alike share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .._data.errors import ModelError
from .._data.specs import LaneSpec
from .._engine.engine_protocol import EngineFault, Need, StepShare
from ._fake_context import SCORE_ROWS, FakeContext, FakeScript


class FakeBlocks(FakeContext):
    """Sequences as lists of blocks (`poolinfer._engine.engine_protocol.Context`).

    A block may belong to several sequences, and is copied before one of them writes into it. A block is taken when
    the first token goes into it, so a lane that asked for too little memory fails at a decode.

    Args:
        script: what happens in steps.
        lane: how many tokens there is memory for.
        size: tokens of a block.

    Attributes:
        n_seq: how many sequences it has: twice as many as slots, so that half of them may be residents.
        share_cost: 0.
        separate: False.
        score_rows: rows of one decode whose output may be wanted, beyond one of each sequence.
        n_blocks: how many blocks there are.
    """

    def __init__(self, script: FakeScript, lane: LaneSpec, size: int) -> None:
        super().__init__(script)
        self.n_seq: int = 2 * lane.slots
        self.share_cost: int = 0
        self.separate: bool = False
        self.score_rows: int = SCORE_ROWS
        self._size = size
        one = self._n_blocks(lane.n_ctx)
        self.n_blocks: int = lane.slots * one if lane.kv_tokens is None else max(one, lane.kv_tokens // size)
        self._cells: list[list[int]] = [[] for _ in range(self.n_blocks)]
        self._users = [0] * self.n_blocks
        self._free = list(reversed(range(self.n_blocks)))
        self._blocks: list[list[int]] = [[] for _ in range(self.n_seq)]
        self._length = [0] * self.n_seq

    @property
    def used(self) -> int:
        """Blocks that belong to some sequence."""
        return self.n_blocks - len(self._free)

    def _n_blocks(self, length: int) -> int:
        return -(-length // self._size)

    def held(self, sequence: int) -> list[int]:
        """The tokens of a sequence."""
        cells: list[int] = []
        for block in self._blocks[sequence]:
            cells += self._cells[block]
        return cells[: self._length[sequence]]

    def can_hold(self, needs: Sequence[Need]) -> bool:
        """Whether blocks suffice for these, with those of the sequences that they share with."""
        kept, more = self._count(needs)
        return len(needs) == 1 or (len(needs) <= self.n_seq and len(kept) + more <= self.n_blocks)

    def _count(self, needs: Sequence[Need]) -> tuple[set[int], int]:
        """Blocks that must stay, and how many more may be taken."""
        kept: set[int] = set()
        more = 0
        for need in needs:
            more += self._n_blocks(need.length)
            if need.sequence >= 0:
                own = self._blocks[need.sequence]
                kept.update(own)
                more -= len(own)
                if self._length[need.sequence] % self._size and self._users[own[-1]] > 1:
                    more += 1
            elif need.source >= 0:
                kept.update(self._blocks[need.source])
                more -= need.shared // self._size
        return kept, more

    def fit(self, needs: Sequence[Need], residents: Callable[[], Sequence[Need]]) -> Mapping[int, int] | None:
        """Free the blocks of as many residents as it takes, those last that are to be shared."""
        _, more = self._count(needs)
        if more <= len(self._free):
            return None
        sources = {need.source for need in needs}
        gone = set()
        order = list(reversed(residents()))
        order.sort(key=lambda resident: resident.sequence in sources)
        for resident in order:
            self.clear(resident.sequence)
            gone.add(resident.sequence)
            if more <= len(self._free):
                return {number: number for number in range(self.n_seq) if number not in gone}
        self.clear(-1)
        raise ModelError(f"{self.n_blocks} blocks of {self._size} tokens are too few")

    def share(self, source: int, target: int, length: int) -> None:
        """Make a sequence begin with the blocks of another."""
        self._check_reuse()
        if length > self._length[source]:
            raise EngineFault(f"sequence {source} has {self._length[source]} tokens, not {length}")
        self.copies.append((source, target))
        shared = self._blocks[source][: self._n_blocks(length)]
        for block in shared:
            self._users[block] += 1
        self._drop(target, 0)
        self._blocks[target], self._length[target] = shared, length

    def cut(self, sequence: int, length: int) -> None:
        """Forget a sequence's last tokens."""
        self._check_reuse()
        self._drop(sequence, min(length, self._length[sequence]))

    def clear(self, sequence: int) -> None:
        """Forget a sequence, or all."""
        for number in range(self.n_seq) if sequence < 0 else [sequence]:
            self._drop(number, 0)

    def _drop(self, sequence: int, length: int) -> None:
        """Give back the blocks behind a length."""
        n = self._n_blocks(length)
        for block in self._blocks[sequence][n:]:
            self._give_back(block)
        del self._blocks[sequence][n:]
        self._length[sequence] = length

    def _give_back(self, block: int) -> None:
        self._users[block] -= 1
        if not self._users[block]:
            self._free.append(block)

    def _take(self) -> int:
        if not self._free:
            raise EngineFault(f"all {self.n_blocks} blocks are taken")
        block = self._free.pop()
        self._users[block] = 1
        self._cells[block] = []
        return block

    def _append(self, sequence: int, position: int, token: int) -> None:
        if position != self._length[sequence]:
            raise EngineFault(f"sequence {sequence} has {self._length[sequence]} tokens, not {position}")
        blocks = self._blocks[sequence]
        index, at = divmod(position, self._size)
        if index == len(blocks):
            blocks.append(self._take())
        elif self._users[blocks[index]] > 1:
            shared, blocks[index] = blocks[index], self._take()
            self._cells[blocks[index]] = self._cells[shared][:at]
            self._give_back(shared)
        self._cells[blocks[index]][at:] = [token]
        self._length[sequence] = position + 1

    def passes(self, shares: Sequence[StepShare]) -> list[list[tuple[int, int]]]:
        """All in one decode."""
        return [[(index, share.rows) for index, share in enumerate(shares)]] if shares else []

    def close(self) -> None:
        """Free it; idempotent. Whatever sequences there were, all blocks must be free then."""
        if not self.closed:
            self.clear(-1)
            if any(self._users) or len(self._free) != self.n_blocks:
                raise EngineFault(f"{self.used} blocks were lost")
        super().close()
