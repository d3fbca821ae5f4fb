"""The parameters of llama.cpp's contexts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..._data.specs import LaneSpec, ModelSpec, RopeSpec
from .capacity import padded

_BF16 = 30


def context_params(
    api: Any, spec: ModelSpec, lane: LaneSpec, n_seq: int, n_ctx: int, *, embeddings: bool
) -> Any:
    """What llama.cpp makes a context of.

    Args:
        api: the bindings.
        spec: the model.
        lane: how lanes run it.
        n_seq: sequences.
        n_ctx: tokens of each of them, or, for embeddings, of all together.
        embeddings: whether the context is for texts to embed.
    """
    params = api.llama_context_default_params()
    params.n_ctx = padded(n_ctx) * (1 if embeddings else n_seq)
    whole = embeddings and not spec.causal
    params.n_batch = params.n_ubatch = max(n_ctx, n_seq) if whole else max(lane.n_batch, n_seq)
    params.n_seq_max = n_seq
    params.kv_unified = embeddings
    params.embeddings = embeddings
    if embeddings:
        params.pooling_type = api.LLAMA_POOLING_TYPE_NONE
    # One row per sequence has logits at a time: a whole batch of them would be gigabytes.
    params.n_outputs_max = 0 if embeddings else n_seq
    params.n_threads = params.n_threads_batch = lane.threads
    if lane.flash_attention is not None:
        wanted = lane.flash_attention
        params.flash_attn_type = (
            api.LLAMA_FLASH_ATTN_TYPE_ENABLED if wanted else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
    params.type_k, params.type_v = _type(api, lane.type_k), _type(api, lane.type_v)
    _scale_positions(api, params, spec.rope)
    params.no_perf = True
    return params


def _type(api: Any, name: str) -> int:
    # llama-cpp-python has no name for bf16.
    return _BF16 if name == "bf16" else int(getattr(api, f"GGML_TYPE_{name.upper()}"))


def _scale_positions(api: Any, params: Any, rope: RopeSpec) -> None:
    for name, value in asdict(rope).items():
        if value is None:
            continue
        if name == "rope_scaling_type":
            value = getattr(api, f"LLAMA_ROPE_SCALING_TYPE_{value.upper()}")
        setattr(params, name, value)
