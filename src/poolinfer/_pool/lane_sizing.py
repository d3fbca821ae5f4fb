"""How the lanes of a pool run a model: the options of the pool, and defaults by the model and the machine."""

from __future__ import annotations

from .._data.errors import InvalidRequest
from .._data.specs import LaneSpec
from .._engine.llama.capacity import padded
from .._system.machine import available_memory, cores
from .model import Model

_BATCH = 512
# With one slot every piece of a prompt is so long, however slow the model: its worker must not seem to hang.
_EXACT_BATCH = 128
_MEMORY_SHARE = 0.25
# Longer calls spend more on attention while decoding than llama.cpp's fused one saves while prompts are computed.
_FLASH_N_CTX = 512
# Threads meet at a barrier after every operation: with less than this to read, waiting outweighs the work.
_BYTES_PER_THREAD = 64 * 2**20


def lane_spec(
    model: Model,
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
    """What each of the `lanes` of a pool is made of: its options, and a choice for each that is None.

    Raises:
        InvalidRequest: `kv_memory` is too little for one call.
    """
    if flash_attention is None and not model.spec.n_gpu_layers:
        # A mixture of experts may take other experts for its rounding, which changes what it says.
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


def _kv_tokens(model: Model, n_ctx: int, memory: int | None, lanes: int) -> int | None:
    """Tokens that the calls of a lane may use together; one call always fits."""
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


def _default_batch(model: Model, slots: int) -> int:
    return _EXACT_BATCH if slots == 1 and not model.spec.n_gpu_layers else _BATCH


def _default_threads(model: Model, lanes: int) -> int:
    useful = 1 + model.size // _BYTES_PER_THREAD
    return max(1, min(cores() // lanes, useful))
