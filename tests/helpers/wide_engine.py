"""A fake engine with as many tokens as large models have, in the shapes of theirs."""

from __future__ import annotations

import random

from poolinfer.testing import FakeEngine

_N_VOCAB = 151_936
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_MARKS = '{}[]",:. \n()-_/\\0123456789'
_SCRIPTS = (0x4E00, 0x430, 0xAC00, 0x3040)


class WideEngine(FakeEngine):
    """Has tokens of made words, numbers, marks and other scripts after those of `FakeEngine`."""

    def __init__(self) -> None:
        super().__init__(n_vocab=_N_VOCAB)
        self._first = 320
        self._words = _words(_N_VOCAB - self._first)

    def piece(self, token: int) -> bytes:
        return super().piece(token) if token < self._first else self._words[token - self._first]


def _words(n: int) -> list[bytes]:
    rng = random.Random(1)
    weights = range(len(_LETTERS), 0, -1)
    found: dict[bytes, None] = {}
    while len(found) < n:
        kind = rng.random()
        if kind < 0.75:
            text = "".join(rng.choices(_LETTERS, weights, k=rng.randint(2, 9)))
            text = f" {text}" if kind < 0.4 else text.title() if kind < 0.5 else text
        elif kind < 0.85:
            text = "".join(rng.choices(_MARKS, k=rng.randint(2, 4)))
        elif kind < 0.9:
            text = str(rng.randrange(10_000))
        else:
            first = rng.choice(_SCRIPTS)
            text = "".join(chr(first + rng.randrange(80)) for _ in range(rng.randint(1, 3)))
        found[text.encode()] = None
    return list(found)
