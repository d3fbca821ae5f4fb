"""How the lanes of a pool run a model: the pool's options, with defaults for the model and the machine."""

from __future__ import annotations

from .._checks.refusals import refuse
from .._data.errors import InvalidRequest
from .._data.kv_types import KV_BLOCKS, KVType, is_quantized, kv_bytes
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
    type_k: KVType | None,
    type_v: KVType | None,
) -> LaneSpec:
    """What each of the `lanes` of a pool is made of: the pool's options, and a default for each that is None.

    Raises:
        InvalidRequest: `kv_memory` is too little for one call, or a type of keys or values does not suit the model
            or `flash_attention`.
    """
    types = type_k or "f16", type_v or "f16"
    _check_types(model, types, flash_attention)
    if flash_attention is None and is_quantized(types[1]):
        flash_attention = True
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
        kv_tokens=_kv_tokens(sum(map(kv_bytes, model.kv_numbers_per_token, types)), n_ctx, kv_memory, lanes),
        flash_attention=flash_attention,
        type_k=types[0],
        type_v=types[1],
    )


def _check_types(model: ModelInfo, types: tuple[str, str], flash_attention: bool | None) -> None:
    for name, kind, width in zip(("type_k", "type_v"), types, model.head_widths, strict=True):
        block = KV_BLOCKS[kind][0]
        if width % block:
            refuse(name, kind, f"use 'f16': heads of {width} numbers cannot be cut into blocks of {block}")
    if is_quantized(types[1]) and flash_attention is False:
        refuse(
            "type_v",
            types[1],
            "use 'f16', or leave out flash_attention=False: only fused attention can read it",
        )


def _kv_tokens(each: int, n_ctx: int, memory: int | None, lanes: int) -> int | None:
    """Tokens that the calls of a lane may use together, at least as many as one call; None for all that they need.

    Args:
        each: bytes of one token.
        n_ctx: tokens of one call.
        memory: bytes that the pool's options allow, or None.
        lanes: lanes of the pool.

    Raises:
        InvalidRequest: `memory` is too little for one call.
    """
    each, least = max(1, each), padded(n_ctx)
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
