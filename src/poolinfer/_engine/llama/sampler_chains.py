"""Chains of llama.cpp's samplers, in the order of its own programs (`common/sampling.cpp`)."""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ..._data.sampling import Sampling
from ..engine_protocol import EngineFault

# What llama.cpp's own programs give Mirostat 1, as its authors did.
_MIROSTAT_M = 100
# Finding breakers in all of a vocabulary takes long enough to do it once for many calls.
_KEPT_DRY = 4


class SamplerChains:
    """Makes the chains for one model; thread-safe.

    Args:
        api: the bindings.
        model: what they loaded.
        n_ctx: tokens of the longest answer.

    Attributes:
        n_vocab: tokens in the vocabulary.
    """

    def __init__(self, api: Any, model: Any, n_ctx: int) -> None:
        self.api = api
        self._vocab = api.llama_model_get_vocab(model)
        self.n_vocab = int(api.llama_vocab_n_tokens(self._vocab))
        self._n_ctx = n_ctx
        self._never = self._suppressed()
        self._lock = threading.Lock()
        self._kept: OrderedDict[Sampling, Any] = OrderedDict()

    def _suppressed(self) -> dict[int, float]:
        """Tokens that the model's file says it must never generate."""
        n = ctypes.c_int32()
        tokens = self.api.llama_vocab_get_suppress_tokens(self._vocab, ctypes.byref(n))
        return dict.fromkeys(tokens[: n.value], float("-inf")) if n.value else {}

    def chain(self, sampling: Sampling, bias: Mapping[int, float], seed: int) -> Any:
        """A new chain, to be freed by the caller; None where the most likely token is all that is asked for.

        Args:
            sampling: the options.
            bias: numbers to add to logits, by token.
            seed: the seed of all that is random.

        Raises:
            EngineFault: llama.cpp refuses an option.
        """
        samplers = [*self._changes(sampling, {**bias, **self._never}), *self._choice(sampling, seed)]
        if sampling.temperature == 0 and len(samplers) == 1:
            self.api.llama_sampler_free(samplers[0])
            return None
        chain = self.api.llama_sampler_chain_init(self.api.llama_sampler_chain_default_params())
        for sampler in filter(None, samplers):
            self.api.llama_sampler_chain_add(chain, sampler)
        if not all(samplers):
            self.api.llama_sampler_free(chain)
            raise EngineFault("llama.cpp refused a sampling option")
        return chain

    def _changes(self, sampling: Sampling, bias: Mapping[int, float]) -> list[Any]:
        """What changes logits before tokens are dropped."""
        api, samplers = self.api, []
        if bias:
            array = (api.llama_logit_bias * len(bias))(*bias.items())
            samplers.append(api.llama_sampler_init_logit_bias(self.n_vocab, len(bias), array))
        penalties = sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
        if penalties != (1.0, 0.0, 0.0) and sampling.repeat_last_n:
            last_n = self._tokens(sampling.repeat_last_n)
            samplers.append(api.llama_sampler_init_penalties(self.n_vocab, last_n, *penalties))
        if sampling.dry_multiplier and sampling.dry_penalty_last_n:
            samplers.append(self._dry(sampling))
        return samplers

    def _tokens(self, last_n: int) -> int:
        return self._n_ctx if last_n < 0 else min(last_n, self._n_ctx)

    def _dry(self, sampling: Sampling) -> Any:
        """A copy of a DRY sampler that is kept: making one, llama.cpp looks for breakers in every token."""
        key = Sampling(
            dry_multiplier=sampling.dry_multiplier,
            dry_base=sampling.dry_base,
            dry_allowed_length=sampling.dry_allowed_length,
            dry_penalty_last_n=self._tokens(sampling.dry_penalty_last_n),
            dry_sequence_breakers=sampling.dry_sequence_breakers,
        )
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._new_dry(key)
                if len(self._kept) > _KEPT_DRY:
                    self.api.llama_sampler_free(self._kept.popitem(last=False)[1])
            self._kept.move_to_end(key)
            return self.api.llama_sampler_clone(self._kept[key])

    def _new_dry(self, key: Sampling) -> Any:
        texts = [text.encode() for text in key.dry_sequence_breakers]
        return self.api.llama_sampler_init_dry(
            self._vocab,
            key.dry_multiplier,
            key.dry_base,
            key.dry_allowed_length,
            key.dry_penalty_last_n,
            (ctypes.c_char_p * len(texts))(*texts),
            len(texts),
        )

    def _choice(self, sampling: Sampling, seed: int) -> list[Any]:
        """What drops tokens and chooses one of the rest."""
        api = self.api
        if sampling.temperature == 0:
            return [api.llama_sampler_init_greedy()]
        tau_eta = sampling.mirostat_tau, sampling.mirostat_eta
        if sampling.mirostat == 1:
            mirostat = api.llama_sampler_init_mirostat(self.n_vocab, seed, *tau_eta, _MIROSTAT_M)
            return [api.llama_sampler_init_temp(sampling.temperature), mirostat]
        if sampling.mirostat == 2:
            mirostat = api.llama_sampler_init_mirostat_v2(seed, *tau_eta)
            return [api.llama_sampler_init_temp(sampling.temperature), mirostat]
        return [
            api.llama_sampler_init_top_n_sigma(sampling.top_n_sigma),
            api.llama_sampler_init_top_k(sampling.top_k),
            api.llama_sampler_init_typical(sampling.typical_p, 1),
            api.llama_sampler_init_top_p(sampling.top_p, 1),
            api.llama_sampler_init_min_p(sampling.min_p, 1),
            api.llama_sampler_init_xtc(sampling.xtc_probability, sampling.xtc_threshold, 1, seed),
            api.llama_sampler_init_temp_ext(
                sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent
            ),
            api.llama_sampler_init_dist(seed),
        ]

    def close(self) -> None:
        """Free what is kept; idempotent."""
        with self._lock:
            while self._kept:
                self.api.llama_sampler_free(self._kept.popitem()[1])
