"""What llama.cpp itself computes for whole texts, one at a time, through the low-level bindings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api
import numpy

Vector = Any


class Reference:
    """A model that llama.cpp has loaded, and a context of it for one text at a time.

    Args:
        path: the model file.
        pooling: llama.cpp's pooling type; None for a context that gives logits.
    """

    def __init__(self, path: Path, pooling: int | None) -> None:
        api.llama_backend_init()
        model_params = api.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self._model = api.llama_model_load_from_file(str(path).encode(), model_params)
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = 1
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.embeddings = pooling is not None
        if pooling is not None:
            params.pooling_type = pooling
        self._context = api.llama_init_from_model(self._model, params)
        self._vocab = api.llama_model_get_vocab(self._model)
        self._pooled = pooling is not None

    def tokens(self, text: str, *, special: bool = False, around: bool = False) -> list[int]:
        """The tokens of a text."""
        data = text.encode()
        room = (api.llama_token * (len(data) + 8))()
        n = api.llama_tokenize(self._vocab, data, len(data), room, len(room), around, special)
        return list(room[:n])

    def pair(self, query: str, document: str) -> list[int]:
        """The tokens that `format_prompt_rerank` of llama.cpp's server makes."""
        template = api.llama_model_chat_template(self._model, b"rerank")
        if template:
            filled = template.decode().replace("{query}", query).replace("{document}", document)
            return self.tokens(filled, special=True)
        eos = [api.llama_vocab_eos(self._vocab)] if api.llama_vocab_get_add_eos(self._vocab) else []
        sep = [api.llama_vocab_sep(self._vocab)] if api.llama_vocab_get_add_sep(self._vocab) else []
        bos = [api.llama_vocab_bos(self._vocab)] if api.llama_vocab_get_add_bos(self._vocab) else []
        return [*bos, *self.tokens(query), *eos, *sep, *self.tokens(document), *eos]

    def computed(self, tokens: Sequence[int]) -> Vector:
        """The pooled vector of a text, the scores of a pair, or the logits after the last token."""
        memory = api.llama_get_memory(self._context)
        if memory:
            api.llama_memory_clear(memory, True)
        ids = (api.llama_token * len(tokens))(*tokens)
        assert api.llama_decode(self._context, api.llama_batch_get_one(ids, len(tokens))) == 0
        if not self._pooled:
            n = api.llama_vocab_n_tokens(self._vocab)
            return numpy.array(api.llama_get_logits_ith(self._context, -1)[:n])
        if api.llama_pooling_type(self._context) == api.LLAMA_POOLING_TYPE_NONE:
            return self.token_vectors(len(tokens))
        rank = api.llama_pooling_type(self._context) == api.LLAMA_POOLING_TYPE_RANK
        n = (api.llama_model_n_cls_out if rank else api.llama_model_n_embd)(self._model)
        return numpy.array(api.llama_get_embeddings_seq(self._context, 0)[:n])

    def token_vectors(self, n: int) -> Vector:
        """The vectors of the `n` tokens that were computed last, without pooling."""
        width = api.llama_model_n_embd(self._model)
        return numpy.array(api.llama_get_embeddings(self._context)[: n * width]).reshape(n, width)

    def close(self) -> None:
        """Free both."""
        api.llama_free(self._context)
        api.llama_model_free(self._model)


@contextmanager
def reference(path: Path, pooling: int | None) -> Iterator[Reference]:
    """A reference that is closed at the end."""
    made = Reference(path, pooling)
    try:
        yield made
    finally:
        made.close()
