"""The parameters of llama.cpp's contexts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal, TypeAlias

from ..._data.specs import LaneSpec, ModelSpec, RopeSpec
from .capacity import padded

#: What a context is for: to generate text, to embed, to rank by a classifier head, or to judge.
Use: TypeAlias = Literal["generate", "embed", "rank", "judge"]

_BF16 = 30


def context_params(
    api: Any, spec: ModelSpec, lane: LaneSpec, n_seq: int, n_ctx: int, *, use: Use, rows: int
) -> Any:
    """What llama.cpp makes a context of.

    Args:
        api: the bindings.
        spec: the model.
        lane: how lanes run it.
        n_seq: sequences.
        n_ctx: tokens of each of them, or of all together where nothing is generated.
        use: what the context is for.
        rows: most rows that have logits at a time. A whole batch of them would be gigabytes.
    """
    params = api.llama_context_default_params()
    params.n_ctx = padded(n_ctx) * (n_seq if use == "generate" else 1)
    embeddings = use in ("embed", "rank")
    whole = embeddings and not spec.causal
    params.n_batch = params.n_ubatch = max(n_ctx, n_seq) if whole else max(lane.n_batch, n_seq)
    params.n_seq_max = n_seq
    params.kv_unified = use != "generate"
    params.embeddings = embeddings
    if embeddings:
        params.pooling_type = api.LLAMA_POOLING_TYPE_NONE if use == "embed" else api.LLAMA_POOLING_TYPE_RANK
    params.n_outputs_max = 0 if embeddings else rows
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
