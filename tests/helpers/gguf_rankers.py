"""Small models that rank documents, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from gguf_drafts import HEADS, LAYERS, WIDTH, Model
from gguf_models import write_bert

RERANK = "<|im_start|>user\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"


def write_qwen3(
    path: str | Path,
    *,
    chat_template: bool = True,
    seed: int = 0,
    ranks: bool = False,
    **overrides: object,
) -> Path:
    """A causal one; with `ranks`, a reranker as llama.cpp converts them: a head of two, and a template."""
    model = Model("qwen3", seed)
    model.bpe(chat_template)
    head = WIDTH // HEADS
    model.say(**{"attention.head_count_kv": HEADS // 2})
    model.say(**{"attention.key_length": head, "attention.value_length": head})
    model.embed_tokens()
    model.norm("output_norm")
    for i in range(LAYERS):
        at = f"blk.{i}"
        model.norm(f"{at}.attn_norm", f"{at}.ffn_norm")
        model.norm(f"{at}.attn_q_norm", f"{at}.attn_k_norm", size=head)
        model.attention(at, WIDTH // 2)
        model.feed_forward(at)
    if ranks:
        model.say(pooling_type=4, **{"classifier.output_labels": ["yes", "no"]})
        model.metadata["tokenizer.chat_template.rerank"] = RERANK
        model.metadata["tokenizer.chat_templates"] = ["rerank"]
        model.weight("cls.output", WIDTH, 2)
    return model.write(path, overrides)


#: Every kind of model with a classifier head, by name.
RANKERS: Mapping[str, Callable[..., Path]] = {
    "bert": partial(write_bert, pooling=4, head=True),
    "qwen3": partial(write_qwen3, ranks=True),
}
