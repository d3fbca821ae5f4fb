"""What a disposable child does with a model file before a process that must not die loads it (see `probe`)."""

from __future__ import annotations

import ctypes
import os
from contextlib import closing, suppress
from typing import Any

from ..._data.errors import ModelError
from ..._data.specs import LaneSpec, ModelSpec
from ..engine_protocol import Batch, EngineFault
from .library import bindings
from .llama_engine import LlamaEngine

# Two rows take other kernels than one, and more than two would take none that two do not.
_TRIAL_ROWS, _TRIAL_BATCH, _TRIAL_CTX = 2, 32, 256
# What a tokenizer with a part missing would not survive.
_ANY_TEXT = "".join(map(chr, [*range(0x250), 0x2028, 0x4E00, 0xFFFD, 0x1F600])) + " the end"


def try_file(spec: ModelSpec) -> bool:
    """Do with a model what calls will do: tokens, a prompt, a step, an embedding. A bad file may crash us.

    False when llama.cpp says that it cannot load the file; its log has the reason.
    """
    api = bindings()
    params = api.llama_model_default_params()
    # Mapped and as they are in the file, so that the host's pages serve: this process has next to no memory.
    params.load_mode = api.LLAMA_LOAD_MODE_MMAP
    params.use_extra_bufts = False
    # An empty list: the host may need all of the GPU's memory.
    devices = (ctypes.c_void_p * 1)()
    params.devices = ctypes.cast(devices, ctypes.c_void_p)
    model = api.llama_model_load_from_file(os.fsencode(spec.path), params)
    if not model:
        return False
    lane = LaneSpec(n_batch=_TRIAL_BATCH)
    engine = LlamaEngine(api, model, spec, lane, computing=lambda: None, release=lambda: None)
    tokens = _try_tokens(api, model, engine)
    rows = tokens[:_TRIAL_ROWS] or [0]
    if engine.info.generates:
        with suppress(ModelError, EngineFault):
            _try_prompt(engine, rows)
    # Models that generate embed texts too, and read other tensors for it.
    with suppress(ModelError, EngineFault):
        _try_embedding(engine, rows)
    return True


def _try_tokens(api: Any, model: Any, engine: LlamaEngine) -> list[int]:
    """Take texts to tokens and back; the tokens of the longest."""
    vocab = api.llama_model_get_vocab(model)
    room = (ctypes.c_int32 * 64)()
    for byte in range(256):
        # Each one alone, or it could be hidden in the token of a whole character.
        api.llama_tokenize(vocab, bytes([byte]), 1, room, len(room), False, False)
    tokens: list[int] = []
    for special in (False, True):
        tokens = engine.tokenize(_ANY_TEXT, add_special=special, parse_special=special)
        for token in tokens:
            engine.piece(token)
    return tokens


def _try_prompt(engine: LlamaEngine, tokens: list[int]) -> None:
    """Compute a prompt and a step after it."""
    with closing(engine.context(n_seq=1, n_ctx=_TRIAL_CTX)) as context:
        prompt, step = Batch(), Batch()
        prompt.add(0, 0, tokens, last=True)
        context.decode(prompt)
        step.add(0, len(tokens), tokens[-1:], last=True)
        context.decode(step)


def _try_embedding(engine: LlamaEngine, tokens: list[int]) -> None:
    """Compute the vectors of a text."""
    with closing(engine.context(n_seq=1, n_ctx=_TRIAL_CTX, embeddings=True)) as context:
        text = Batch()
        text.add(0, 0, tokens, last=True, rest=True)
        context.decode(text)
        context.embeddings(len(text)).sum()
