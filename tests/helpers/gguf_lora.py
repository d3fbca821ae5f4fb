"""LoRA adapters for the models of `gguf_models`, with random matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

#: Numbers in and out of two matrices of the small llama.
SHAPES = {"blk.0.attn_q.weight": (64, 64), "blk.1.ffn_down.weight": (96, 64)}
RANK, ALPHA = 4, 8.0


def write_lora(
    path: Path,
    seed: int = 1,
    *,
    arch: str = "llama",
    kind: str = "lora",
    shapes: Mapping[str, tuple[int, int]] = SHAPES,
    lacks: Sequence[str] = (),
    **more: list[int],
) -> dict[str, np.ndarray]:
    """Write an adapter; returns what it adds to the weights, at scale 1."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for key, value in more.items():
        writer.add_array(key, value)
    added = {}
    for name, (n_in, n_out) in shapes.items():
        a = rng.standard_normal((RANK, n_in), dtype=np.float32) * np.float32(n_in**-0.5)
        b = rng.standard_normal((n_out, RANK), dtype=np.float32)
        for half, matrix in ((f"{name}.lora_a", a), (f"{name}.lora_b", b)):
            if half not in lacks:
                writer.add_tensor(half, matrix)
        added[name] = (b @ a) * np.float32(ALPHA / RANK)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return added
