"""Which sequences to compute together, where some are much longer than others."""

from __future__ import annotations

from collections.abc import Sequence

# How many tokens of attention take as long as reading the weights once more, for each dimension of the model.
# Measured on a 0.6 B model of 1 024: 30 ms against 7 us. Weights of a layer grow with the square of its width,
# attention to a token with the width itself.
_TOKENS_PER_WIDTH = 4


def groups(sequences: Sequence[tuple[int, int]], width: int) -> list[range]:
    """Split sequences into groups that are cheapest to compute one after the other.

    llama.cpp reads the weights once for sequences whose numbers follow one another, but attends to as many tokens
    for each of them as the longest one has: eight short streams beside a long one take twice as long as apart.

    Args:
        sequences: number and length (tokens) of each, in the order of their numbers.
        width: dimensions of the model.

    Returns ranges of indices, all of them in order: the least sum of `group's size x its longest` and of one
    reading of the weights for each group, by dynamic programming over where the last group begins.
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
