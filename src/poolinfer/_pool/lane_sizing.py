"""How the lanes of a pool run a model: the pool's options, with defaults for the model and the machine."""

from __future__ import annotations

from .._data.errors import InvalidRequest
from .._data.specs import LaneSpec
from .._engine.llama.capacity import padded
from .._system.machine import available_memory, cores
from .model_info import ModelInfo

_BATCH = 512
# With one slot a step computes so many tokens of a prompt, however slow the model. More could seem to hang.
_EXACT_BATCH = 128
# Of the free memory, what the contexts of all lanes may take.
_MEMORY_SHARE = 0.25
# Up to this context, fused attention saves more time on prompts than it costs while decoding.
_FLASH_N_CTX = 512
# Threads meet at a barrier after every operation. A thread with less than this to read costs more than it saves.
_BYTES_PER_THREAD = 64 * 2**20


def lane_spec(
    model: ModelInfo,
    lanes: int,
    *,
    slots: int,
    threads: int | None,
    n_ctx: int,
    n_batch: int | None,
    kv_memory: int | None,
    flash_attention: bool | None,
    latency_target: float,
    prefix_cache: bool | None,
) -> LaneSpec:
    """What each of the `lanes` of a pool is made of: the pool's options, and a default for each that is None.

    Raises:
        InvalidRequest: `kv_memory` is too little for one call.
    """
    if flash_attention is None and not model.spec.n_gpu_layers:
        # Fused attention rounds in another way, for which a mixture of experts may choose other experts.
        flash_attention = slots > 1 and n_ctx <= _FLASH_N_CTX and not model.n_expert
    return LaneSpec(
        slots=slots,
        n_ctx=n_ctx,
        threads=threads or _default_threads(model, lanes),
        n_batch=n_batch or _default_batch(model, slots),
        latency_target=latency_target,
        prefix_cache=slots > 1 if prefix_cache is None else prefix_cache,
        kv_tokens=_kv_tokens(model, n_ctx, kv_memory, lanes),
        flash_attention=flash_attention,
    )


def _kv_tokens(model: ModelInfo, n_ctx: int, memory: int | None, lanes: int) -> int | None:
    """Tokens that the calls of a lane may use together, at least as many as one call; None for all that they need.

    Raises:
        InvalidRequest: `memory` is too little for one call.
    """
    each, least = max(1, model.kv_bytes_per_token), padded(n_ctx)
    if memory is None:
        free = available_memory()
        return None if free is None else max(least, int(free * _MEMORY_SHARE) // lanes // each)
    if memory < each * least:
        raise InvalidRequest(
            f"kv_memory: one call of n_ctx={n_ctx} tokens takes {each * least} bytes with this model, got {memory};"
            " give more, or lower n_ctx",
            field="kv_memory",
        )
    return memory // each


def _default_batch(model: ModelInfo, slots: int) -> int:
    return _EXACT_BATCH if slots == 1 and not model.spec.n_gpu_layers else _BATCH


def _default_threads(model: ModelInfo, lanes: int) -> int:
    useful = 1 + model.size // _BYTES_PER_THREAD
    return max(1, min(cores() // lanes, useful))
