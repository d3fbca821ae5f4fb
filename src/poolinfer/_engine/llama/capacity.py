"""How large a rectangle of sequences may be, and how it grows. Arithmetic only: no engine here.

llama.cpp takes the memory of a context when it is made, as a rectangle: so many sequences, all of the same length.
A lane begins with a small rectangle, and moves to a larger one when its calls need that. If the calls need more
together than is allowed, some of them wait. A lane does not move back to a smaller rectangle by itself. What was
needed once will be needed again, and filling memory with zeros takes a second for each gigabyte or two.
"""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_N_SEQ = 4
_FIRST_N_CTX = 512
_CELLS_STEP = 256


def padded(n_ctx: int) -> int:
    """Tokens that llama.cpp makes room for in a sequence of `n_ctx`: a multiple of 256."""
    return -(-n_ctx // _CELLS_STEP) * _CELLS_STEP


@dataclass(frozen=True, slots=True)
class Capacity:
    """A context's room.

    Attributes:
        n_seq: sequences.
        n_ctx: tokens of each.
    """

    n_seq: int
    n_ctx: int

    @property
    def tokens(self) -> int:
        """What all sequences together have memory for."""
        return self.n_seq * padded(self.n_ctx)


@dataclass(frozen=True, slots=True)
class CapacityBounds:
    """What a capacity may become.

    Attributes:
        n_seq: most sequences.
        n_ctx: most tokens of each.
        tokens: most tokens that there is memory for; one call always fits.
    """

    n_seq: int
    n_ctx: int
    tokens: int

    def first(self) -> Capacity:
        """What a lane begins with."""
        return self._within(min(_FIRST_N_SEQ, self.n_seq), self._round_tokens(1))

    def can_hold(self, n_seq: int, length: int) -> bool:
        """Whether there is memory for so many sequences, of which the longest has so many tokens."""
        return n_seq == 1 or (
            n_seq <= self.n_seq and n_seq * padded(self._round_tokens(length)) <= self.tokens
        )

    def grow(self, now: Capacity, n_seq: int, length: int) -> Capacity:
        """The capacity for what `can_hold` allows: as it is now, or larger, or another one of no more tokens."""
        if n_seq <= now.n_seq and length <= now.n_ctx:
            return now
        n_ctx = max(now.n_ctx, self._round_tokens(length))
        wider = Capacity(max(now.n_seq, self._round_sequences(n_seq)), n_ctx)
        if wider.tokens <= self.tokens:
            return wider
        if n_seq * padded(n_ctx) > self.tokens:
            n_ctx = self._round_tokens(length)
        return self._within(max(n_seq, now.n_seq), n_ctx)

    def halved(self, tried: Capacity) -> CapacityBounds:
        """The bounds after there was no memory for a capacity: half of its tokens."""
        return CapacityBounds(self.n_seq, self.n_ctx, tried.tokens // 2)

    def _within(self, n_seq: int, n_ctx: int) -> Capacity:
        return Capacity(max(1, min(n_seq, self.tokens // padded(n_ctx))), n_ctx)

    def _round_sequences(self, n: int) -> int:
        """4, 8, 16, ..., or the most sequences at once where these are not many more."""
        wide = _FIRST_N_SEQ
        while wide < n:
            wide *= 2
        return self.n_seq if 2 * self.n_seq <= 3 * wide else wide

    def _round_tokens(self, length: int) -> int:
        """512, 768, 1 024, 1 536, 2 048, 3 072, ..., and at last the most tokens.

        It is the most tokens at once where these are 1 024 or fewer and there is memory for them. Growing step by
        step would save half of that at best, and calls would have to wait for each move.
        """
        if self.n_ctx <= 2 * _FIRST_N_CTX and self.n_seq * padded(self.n_ctx) <= self.tokens:
            return self.n_ctx
        long = _FIRST_N_CTX
        while 2 * length > 3 * long:
            long *= 2
        return min(long if length <= long else long * 3 // 2, self.n_ctx)
