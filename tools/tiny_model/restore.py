"""Read weights and tokenizer back from an exported GGUF file, so that its training can go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, quants
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

from export import gguf_name
from model import Config, TinyModel
from tokenizer import SPECIAL, around_merges


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the weights by their names in PyTorch, as exact as the file has them."""
    stored = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    weights = {}
    for name, parameter in TinyModel(Config()).state_dict().items():
        tensor = stored[gguf_name(name)]
        values = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        weights[name] = torch.from_numpy(values.reshape(parameter.shape).copy())
    return weights


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer; `check_tokenizer.py` says whether it splits as llama.cpp does."""
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = around_merges(BPE(vocab=vocabulary, merges=merges))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer
