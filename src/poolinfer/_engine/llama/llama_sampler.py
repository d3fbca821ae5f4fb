"""llama.cpp's sampler chains over rows of logits; the bindings come as `api`."""

from __future__ import annotations

import ctypes
import math
import threading
from typing import TYPE_CHECKING, Any

from ..engine_protocol import EngineFault

if TYPE_CHECKING:
    import numpy
    import numpy.typing


class Candidates(threading.local):
    """A row's tokens as samplers take them. Each thread that samples has one array, which all its slots use.

    Args:
        api: the bindings.
        n_vocab: tokens in the vocabulary.
    """

    def __init__(self, api: Any, n_vocab: int) -> None:
        self._api = api
        self._n_vocab = n_vocab
        self._made = False

    def of(self, logits: numpy.typing.NDArray[numpy.float32]) -> Any:
        """All tokens with the logits of a row, as a `llama_token_data_array`; valid until the next call."""
        if not self._made:
            self._make()
        # Samplers change the order of the tokens. They compute probabilities themselves.
        self._tokens["id"] = self._ids
        self._tokens["logit"] = logits
        array = self._array
        array.data, array.size, array.selected, array.sorted = self._data, self._n_vocab, -1, False
        return array

    def _make(self) -> None:
        import numpy

        # The fields of llama.cpp's `llama_token_data`.
        kind = numpy.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")])
        self._ids = numpy.arange(self._n_vocab, dtype="i4")
        self._tokens = numpy.zeros(self._n_vocab, kind)
        self._data = ctypes.cast(self._tokens.ctypes.data, ctypes.POINTER(self._api.llama_token_data))
        self._array = self._api.llama_token_data_array()
        self._made = True


class LlamaSampler:
    """Samples by a chain of llama.cpp's samplers (`engine_protocol.Sampler`).

    Args:
        api: the bindings.
        chain: the chain, which is freed with this sampler; None to take the most likely token.
        candidates: where tokens are laid out for the chain.
        ends: tokens that may be chosen only if no others may, in the beginning.
        n_least: tokens that the beginning has.
    """

    def __init__(
        self,
        api: Any,
        chain: Any,
        candidates: Candidates,
        ends: numpy.typing.NDArray[numpy.int32] | None = None,
        n_least: int = 0,
    ) -> None:
        self._free = api.llama_sampler_free
        self._apply = api.llama_sampler_apply
        self._accept = api.llama_sampler_accept
        self._chain = chain
        self._candidates = candidates
        self._ends = ends
        self._n_least = n_least
        self._n = 0

    def sample(self, logits: numpy.typing.NDArray[numpy.float32]) -> int:
        row = self._without_ends(logits) if self._n < self._n_least else logits
        if self._chain is None:
            token = int(row.argmax())
        else:
            array = self._candidates.of(row)
            self._apply(self._chain, ctypes.byref(array))
            token = int(array.data[array.selected].id)
        if not logits[token] > -math.inf:
            raise EngineFault("the model computes numbers that are not finite, so its answers would be noise")
        return token

    def _without_ends(
        self, logits: numpy.typing.NDArray[numpy.float32]
    ) -> numpy.typing.NDArray[numpy.float32]:
        row = logits.copy()
        row[self._ends] = -math.inf
        return row if row.max() > -math.inf else logits

    def accept(self, token: int) -> None:
        self._n += 1
        if self._chain is not None:
            self._accept(self._chain, token)

    def close(self) -> None:
        chain, self._chain = self._chain, None
        if chain is not None:
            self._free(chain)
