"""Small models of every kind that llama.cpp treats differently, with random weights.

They load and decode; what they say is noise, but the same noise for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import gguf
import numpy as np
from gguf_drafts import FF, HEADS, LAYERS, WIDTH, Model

__all__ = [
    *("VARIANTS", "WRITERS", "Model", "write_bert", "write_gpt2", "write_llama"),
]


def write_llama(
    path: str | Path,
    *,
    chat_template: bool = True,
    seed: int = 0,
    vocabulary: Callable[[Model], None] | None = None,
    quantized: gguf.GGMLQuantizationType | None = None,
    experts: int = 0,
    part_tensors: int = 0,
    added: Mapping[str, np.ndarray] | None = None,
    **overrides: object,
) -> Path:
    """A plain causal transformer, two query heads to a KV head; with experts, a mixture of them.

    It may be split into parts of so many tensors, and matrices may be added to its weights.
    """
    model = Model("llama", seed, quantized=quantized, part_tensors=part_tensors)
    if vocabulary is None:
        model.bpe(chat_template)
    else:
        vocabulary(model)
    model.say(**{"attention.head_count_kv": HEADS // 2})
    model.embed_tokens()
    model.norm("output_norm")
    for i in range(LAYERS):
        at = f"blk.{i}"
        model.norm(f"{at}.attn_norm", f"{at}.ffn_norm")
        model.attention(at, WIDTH // 2)
        if experts:
            model.experts(at, experts)
        else:
            model.feed_forward(at)
    for name, matrix in (added or {}).items():
        model.tensors[name] += matrix
    return model.write(path, overrides)


def write_mamba(path: str | Path, *, chat_template: bool = True, seed: int = 0, **overrides: object) -> Path:
    """A recurrent one: its memory of a sequence cannot be cut."""
    model = Model("mamba", seed)
    model.bpe(chat_template)
    model.say(**{"attention.head_count": 0, "feed_forward_length": 0})
    model.embed_tokens()
    model.norm("output_norm")
    for i in range(LAYERS):
        model.norm(f"blk.{i}.attn_norm")
        model.mamba(f"blk.{i}", norms=False)
    return model.write(path, overrides)


def write_jamba(path: str | Path, *, chat_template: bool = True, seed: int = 0, **overrides: object) -> Path:
    """A hybrid: one recurrent layer, one of attention."""
    model = Model("jamba", seed)
    model.bpe(chat_template)
    model.say(**{"attention.head_count_kv": [0, HEADS]})
    model.embed_tokens()
    model.norm("output_norm")
    model.mamba("blk.0", norms=True)
    model.attention("blk.1")
    for i in range(LAYERS):
        model.norm(f"blk.{i}.attn_norm", f"blk.{i}.ffn_norm")
        model.feed_forward(f"blk.{i}")
    return model.write(path, overrides)


def write_gemma2(
    path: str | Path, *, chat_template: bool = True, seed: int = 0, window: int = 16, **overrides: object
) -> Path:
    """A sliding-window one: every other layer sees only the last `window` tokens."""
    model = Model("gemma2", seed)
    model.bpe(chat_template)
    head = WIDTH // HEADS
    model.say(**{"attention.head_count_kv": HEADS, "attention.sliding_window": window})
    model.say(**{"attention.key_length": head, "attention.value_length": head})
    model.embed_tokens()
    model.norm("output_norm")
    for i in range(LAYERS):
        at = f"blk.{i}"
        model.norm(f"{at}.attn_norm", f"{at}.post_attention_norm", f"{at}.ffn_norm", f"{at}.post_ffw_norm")
        model.attention(at)
        model.feed_forward(at)
    return model.write(path, overrides)


def write_bert(
    path: str | Path,
    *,
    pooling: int = 1,
    seed: int = 0,
    vocabulary: Callable[[Model], None] = Model.wordpiece,
    head: bool = False,
    **overrides: object,
) -> Path:
    """An encoder that makes vectors only; `pooling` is 1 for mean, 2 for cls, and 4, with a head, for a score."""
    model = Model("bert", seed)
    vocabulary(model)
    if head:
        model.weight("cls", WIDTH, WIDTH)
        model.bias("cls")
        model.weight("cls.output", WIDTH, 1)
        model.bias("cls.output", size=1)
    model.metadata["tokenizer.ggml.token_type_count"] = 2
    model.say(**{"attention.causal": False, "attention.layer_norm_epsilon": 1e-5, "pooling_type": pooling})
    model.embed_tokens()
    model.weight("token_types", WIDTH, 2)
    model.weight("position_embd", WIDTH, 512)
    model.norm("token_embd_norm")
    model.bias("token_embd_norm")
    for i in range(LAYERS):
        at = f"blk.{i}"
        model.attention(at)
        model.feed_forward(at, gate=False)
        model.norm(f"{at}.attn_output_norm", f"{at}.layer_output_norm")
        model.bias(f"{at}.attn_output_norm", f"{at}.layer_output_norm")
    return model.write(path, overrides)


def write_gpt2(path: str | Path, *, chat_template: bool = True, seed: int = 0, **overrides: object) -> Path:
    """A causal one that has learned a vector for each of 512 positions."""
    model = Model("gpt2", seed)
    model.bpe(chat_template)
    model.say(**{"attention.layer_norm_epsilon": 1e-5})
    model.embed_tokens()
    model.weight("position_embd", WIDTH, 512)
    model.norm("output_norm")
    model.bias("output_norm")
    for i in range(LAYERS):
        at = f"blk.{i}"
        model.norm(f"{at}.attn_norm", f"{at}.ffn_norm")
        model.bias(f"{at}.attn_norm", f"{at}.ffn_norm", f"{at}.attn_output", f"{at}.ffn_down")
        model.weight(f"{at}.attn_qkv", WIDTH, 3 * WIDTH)
        model.bias(f"{at}.attn_qkv", size=3 * WIDTH)
        model.weight(f"{at}.attn_output", WIDTH, WIDTH)
        model.feed_forward(at, gate=False)
        model.bias(f"{at}.ffn_up", size=FF)
    return model.write(path, overrides)


def write_t5(path: str | Path, *, seed: int = 0, **overrides: object) -> Path:
    """An encoder and a decoder."""
    model = Model("t5", seed)
    model.bpe(chat_template=False)
    model.say(**{"attention.relative_buckets_count": 8, "decoder_start_token_id": model.vocabulary - 3})
    model.embed_tokens()
    model.norm("enc.output_norm", "dec.output_norm")
    for i in range(LAYERS):
        for side in ("enc", "dec"):
            at = f"{side}.blk.{i}"
            model.norm(f"{at}.attn_norm", f"{at}.ffn_norm")
            model.attention(at, out="attn_o")
            model.feed_forward(at)
            model.weight(f"{at}.attn_rel_b", HEADS, 8)
        model.norm(f"dec.blk.{i}.cross_attn_norm")
        model.attention(f"dec.blk.{i}", out="cross_attn_o", kind="cross_attn")
    return model.write(path, overrides)


#: Vocabularies, quantised weights and experts, by name; the architectures are in `WRITERS`.
VARIANTS: Mapping[str, Callable[..., Path]] = {
    "sentencepiece": partial(write_llama, vocabulary=Model.sentencepiece),
    "rwkv": partial(write_llama, vocabulary=Model.rwkv),
    "unigram": partial(write_bert, vocabulary=Model.unigram),
    "q8_0": partial(write_llama, quantized=gguf.GGMLQuantizationType.Q8_0),
    "q4_0": partial(write_llama, quantized=gguf.GGMLQuantizationType.Q4_0),
    "experts": partial(write_llama, experts=4),
}

#: Every kind by name.
WRITERS: Mapping[str, Callable[..., Path]] = {
    "llama": write_llama,
    "mamba": write_mamba,
    "jamba": write_jamba,
    "gemma2": write_gemma2,
    "gpt2": write_gpt2,
    "bert": write_bert,
    "t5": write_t5,
}
