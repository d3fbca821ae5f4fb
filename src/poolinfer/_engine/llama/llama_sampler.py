"""llama.cpp's sampler chains over rows of logits; the bindings come as `api`."""

from __future__ import annotations

import ctypes
import math
import threading
from typing import TYPE_CHECKING, Any

from ..._data.requests import Generation
from ..engine_protocol import EngineFault

if TYPE_CHECKING:
    import numpy
    import numpy.typing

_PENALTY_TOKENS = 64


class Candidates(threading.local):
    """A row's tokens as samplers take them. Each thread that samples has one array, which all its slots use.

    Args:
        api: the bindings.
        n_vocab: tokens in the vocabulary.

    Attributes:
        n_vocab: tokens in the vocabulary.
    """

    def __init__(self, api: Any, n_vocab: int) -> None:
        self._api = api
        self.n_vocab = n_vocab
        self._made = False

    def of(self, logits: numpy.typing.NDArray[numpy.float32]) -> Any:
        """All tokens with the logits of a row, as a `llama_token_data_array`; valid until the next call."""
        if not self._made:
            self._make()
        # Samplers change the order of the tokens. They compute probabilities themselves.
        self._tokens["id"] = self._ids
        self._tokens["logit"] = logits
        array = self._array
        array.data, array.size, array.selected, array.sorted = self._data, self.n_vocab, -1, False
        return array

    def _make(self) -> None:
        import numpy

        # The fields of llama.cpp's `llama_token_data`.
        kind = numpy.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")])
        self._ids = numpy.arange(self.n_vocab, dtype="i4")
        self._tokens = numpy.zeros(self.n_vocab, kind)
        self._data = ctypes.cast(self._tokens.ctypes.data, ctypes.POINTER(self._api.llama_token_data))
        self._array = self._api.llama_token_data_array()
        self._made = True


class LlamaSampler:
    """A llama.cpp sampler chain in llama.cpp's own order (`engine_protocol.Sampler`).

    Args:
        api: the bindings.
        request: what is asked for.
        seed: the seed of all that is random.
        candidates: where tokens are laid out for the chain.
    """

    def __init__(self, api: Any, request: Generation, seed: int, candidates: Candidates) -> None:
        self._free = api.llama_sampler_free
        self._apply = api.llama_sampler_apply
        self._accept = api.llama_sampler_accept
        self._candidates = candidates
        self._chain: Any = None
        samplers = _samplers(api, request, seed, candidates.n_vocab)
        # Where the most likely token is all that is asked for, there is no chain.
        if samplers:
            self._chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        for sampler in samplers:
            if not sampler:
                self.close()
                raise EngineFault("llama.cpp refused a sampling option")
            api.llama_sampler_chain_add(self._chain, sampler)

    def sample(self, logits: numpy.typing.NDArray[numpy.float32]) -> int:
        if self._chain is None:
            token = int(logits.argmax())
        else:
            array = self._candidates.of(logits)
            self._apply(self._chain, ctypes.byref(array))
            token = int(array.data[array.selected].id)
        if not logits[token] > -math.inf:
            raise EngineFault("the model computes numbers that are not finite, so its answers would be noise")
        return token

    def accept(self, token: int) -> None:
        if self._chain is not None:
            self._accept(self._chain, token)

    def close(self) -> None:
        chain, self._chain = self._chain, None
        if chain is not None:
            self._free(chain)


def _samplers(api: Any, request: Generation, seed: int, n_vocab: int) -> list[Any]:
    """llama.cpp samplers, in the order of the chain; none where the most likely token is all that is asked for."""
    samplers = []
    if request.logit_bias:
        biases = (api.llama_logit_bias * len(request.logit_bias))(*request.logit_bias.items())
        samplers.append(api.llama_sampler_init_logit_bias(n_vocab, len(biases), biases))
    penalties = request.repeat_penalty, request.frequency_penalty, request.presence_penalty
    if penalties != (1.0, 0.0, 0.0):
        samplers.append(api.llama_sampler_init_penalties(n_vocab, _PENALTY_TOKENS, *penalties))
    if request.temperature == 0:
        return [*samplers, api.llama_sampler_init_greedy()] if samplers else []
    return [
        *samplers,
        api.llama_sampler_init_top_k(request.top_k),
        api.llama_sampler_init_top_p(request.top_p, 1),
        api.llama_sampler_init_min_p(request.min_p, 1),
        api.llama_sampler_init_temp(request.temperature),
        api.llama_sampler_init_dist(seed),
    ]
