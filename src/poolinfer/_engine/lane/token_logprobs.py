"""Log probabilities of tokens, from a row of logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..._data.logprobs import TokenLogprob
from ..engine_protocol import Engine, EngineFault

if TYPE_CHECKING:
    import numpy
    import numpy.typing

# What OpenAI gives for a token that is next to impossible. JSON has no infinity.
_LEAST = -9999.0


def token_logprob(
    engine: Engine, logits: numpy.typing.NDArray[numpy.float32], token: int, n_top: int
) -> TokenLogprob:
    """A token with its log probability, and the most likely tokens with theirs.

    Args:
        engine: knows the texts of tokens.
        logits: those of the row before the token; they are only read.
        token: the token.
        n_top: how many alternatives there are to be.

    Raises:
        EngineFault: the row holds a NaN.
    """
    import numpy

    peak = logits.max()
    total = float(peak) + math.log(float(numpy.exp(logits - peak).sum(dtype="f8")))
    if math.isnan(total):
        raise EngineFault("the model computes numbers that are not finite, so its answers would be noise")
    value = logits[token]
    best = _largest(logits, n_top)
    pieces = {i: engine.piece(i) for i in (token, *best)}
    texts = {i: piece.decode(errors="replace") or engine.spelling(i) for i, piece in pieces.items()}
    return TokenLogprob(
        token,
        texts[token],
        max(_LEAST, float(value) - total),
        top=tuple([(i, texts[i], max(_LEAST, float(logits[i]) - total)) for i in best]),
        raw=tuple([(i, piece) for i, piece in pieces.items() if piece != texts[i].encode()]),
        rank=1 + int((logits > value).sum()),
    )


def _largest(logits: numpy.typing.NDArray[numpy.float32], n: int) -> list[int]:
    """The tokens with the largest logits, largest first. Twenty of them are found faster than a row is sorted."""
    import numpy

    left, found = logits.copy() if n else logits, list[int]()
    for _ in range(min(n, len(logits))):
        found.append(int(left.argmax()))
        left[found[-1]] = -numpy.inf
    return found
