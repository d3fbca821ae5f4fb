"""The little of llama.cpp's C API that the benchmark needs: models, contexts, tokens."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import llama_cpp.llama_cpp as native

logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)


@contextlib.contextmanager
def open_model(path: Path, *, vocab_only: bool = False) -> Iterator[native.llama_model_p]:
    """Load a model for the length of a ``with`` block."""
    llama_cpp.llama_backend_init()
    params = native.llama_model_default_params()
    params.vocab_only = vocab_only
    model = native.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise RuntimeError(f"cannot load {path}")
    try:
        yield model
    finally:
        native.llama_model_free(model)


@contextlib.contextmanager
def open_context(
    model: native.llama_model_p, *, slots: int, n_ctx: int, n_batch: int, n_threads: int, flash_attn: bool
) -> Iterator[native.llama_context_p]:
    """Make a context with one KV stream of ``n_ctx`` tokens per slot, for the length of a ``with`` block."""
    params = native.llama_context_default_params()
    params.n_ctx = n_ctx * slots
    params.n_seq_max = slots
    params.n_batch = params.n_ubatch = n_batch
    params.n_outputs_max = slots
    params.n_threads = params.n_threads_batch = n_threads
    params.kv_unified = False
    params.no_perf = True
    params.flash_attn_type = (
        native.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash_attn else native.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    context = native.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError("cannot create a context")
    try:
        yield context
    finally:
        native.llama_free(context)


@contextlib.contextmanager
def open_batch(size: int) -> Iterator[native.llama_batch]:
    """Allocate a batch of ``size`` tokens, one sequence each, for the length of a ``with`` block."""
    batch = native.llama_batch_init(size, 0, 1)
    for row in range(size):
        batch.n_seq_id[row] = 1
    try:
        yield batch
    finally:
        native.llama_batch_free(batch)


@contextlib.contextmanager
def open_greedy(vocab: native.llama_vocab_p, banned: list[int]) -> Iterator[native.llama_sampler_p]:
    """Make a greedy sampler that never picks a banned token, for the length of a ``with`` block."""
    chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
    if banned:
        biases = (native.llama_logit_bias * len(banned))(
            *(native.llama_logit_bias(token, -100.0) for token in banned)
        )
        size = native.llama_vocab_n_tokens(vocab)
        native.llama_sampler_chain_add(chain, native.llama_sampler_init_logit_bias(size, len(banned), biases))
    native.llama_sampler_chain_add(chain, native.llama_sampler_init_greedy())
    try:
        yield chain
    finally:
        native.llama_sampler_free(chain)


def tokenize(vocab: native.llama_vocab_p, text: str) -> list[int]:
    """Return the tokens of rendered text, in which control tokens count as such."""
    data = text.encode()
    tokens = (native.llama_token * (len(data) + 1))()
    count = native.llama_tokenize(vocab, data, len(data), tokens, len(tokens), False, True)
    if count < 0:
        raise RuntimeError(f"cannot tokenize {text[:40]!r}")
    return list(tokens[:count])


def end_tokens(vocab: native.llama_vocab_p) -> list[int]:
    """Return every token that ends a generation."""
    return [
        token
        for token in range(native.llama_vocab_n_tokens(vocab))
        if native.llama_vocab_is_eog(vocab, token)
    ]


def chat_template(model: native.llama_model_p) -> str:
    """Return the chat template that the model carries."""
    template: bytes | None = native.llama_model_chat_template(model, None)
    if template is None:
        raise RuntimeError("the model has no chat template")
    return template.decode()
