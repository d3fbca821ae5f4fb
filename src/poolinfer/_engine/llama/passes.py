"""What llama.cpp computes together in a step, and what one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine_protocol import StepShare

# Prompts of so many rows together are computed about as fast, row by row, as a whole batch.
_PASS_ROWS = 64
# How many tokens of attention take as long as reading the weights once more, for each dimension of the model.
# Measured on a 0.6 B model of 1 024: 30 ms against 7 us. Weights of a layer grow with the square of its width,
# attention to a token with the width itself.
_TOKENS_PER_WIDTH = 4


def groups(sequences: Sequence[tuple[int, int]], width: int) -> list[range]:
    """Split sequences into groups that are cheapest to compute one after the other.

    llama.cpp reads the weights once for sequences whose numbers follow one another. But for each of them it attends
    to as many tokens as the longest one has. So eight short streams beside a long one take twice as long as apart.

    Args:
        sequences: number and length (tokens) of each, in the order of their numbers.
        width: dimensions of the model.

    Returns ranges of indices, in order. The cost of a group is `its size x its longest`, and one reading of the
    weights. The least sum is found by dynamic programming over where the last group begins.
    """
    n, read = len(sequences), _TOKENS_PER_WIDTH * width
    longest = max((length for _, length in sequences), default=0)
    if n * longest - sum(length for _, length in sequences) <= read:
        return [range(n)] if n else []
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, n + 1):
        choices = []
        longest = 0
        for start in range(end - 1, -1, -1):
            number, length = sequences[start]
            if start < end - 1 and sequences[start + 1][0] != number + 1:
                break
            longest = max(longest, length)
            choices.append((best[start][0] + read + longest * (end - start), start))
        best.append(min(choices))
    found, end = [], n
    while end:
        start = best[end][1]
        found.append(range(start, end))
        end = start
    return found[::-1]


def passes(shares: Sequence[StepShare], width: int) -> list[list[tuple[int, int]]]:
    """The decodes of a step, as (index of a share, rows of it): the streams first, then prompts, shortest first.

    llama.cpp reads the weights again for each prompt of another length anyway. Computed one after the other, each
    prompt has its token when its own pass is over. A prompt between two streams gives their pass one row, so that
    the numbers in it follow one another.

    Args:
        shares: what sequences have in the step, in the order of their numbers.
        width: dimensions of the model.
    """
    found: list[list[tuple[int, int]]] = []
    left = [share.rows for share in shares]
    if not all(share.entering for share in shares):
        for group in groups([(share.sequence, share.computed + 1) for share in shares], width):
            if not all(shares[i].entering for i in group):
                found.append([(i, 1) for i in group])
                for i in group:
                    left[i] -= 1
    rows = _PASS_ROWS
    for i in sorted(range(len(shares)), key=left.__getitem__):
        if n := left[i]:
            if rows >= _PASS_ROWS:
                found.append([])
                rows = 0
            found[-1].append((i, n))
            rows += n
    return [sorted(chosen) for chosen in found]
