"""What a LoRA adapter is: a GGUF file with two small matrices for each weight that it changes."""

from __future__ import annotations

import os

from .._data.errors import ModelError
from .gguf_file import GgufFile, read_gguf_file

_HALVES = ".lora_a", ".lora_b"
_ACTIVATED = "adapter.alora.invocation_tokens"


def read_lora_file(path: str | os.PathLike[str], architecture: str) -> GgufFile:
    """Check a file with a LoRA adapter.

    Args:
        path: the file.
        architecture: llama.cpp's name of the architecture of the model that it is for.

    Raises:
        ModelError: the file cannot be used, is no adapter of this kind, or is for another architecture.
    """
    file = read_gguf_file(path, "LoRA file")
    kind = file.text("general.type"), file.text("adapter.type")
    if kind != ("adapter", "lora"):
        raise ModelError(
            f"LoRA file {file.path!r} holds no LoRA adapter; make one with convert_lora_to_gguf.py of llama.cpp"
        )
    if file.text("general.architecture") != architecture:
        raise ModelError(
            f"LoRA file {file.path!r} is for the architecture {file.text('general.architecture')!r}, and the model"
            f" is of {architecture!r}; use an adapter that was trained on this model"
        )
    if _ACTIVATED in file.metadata:
        raise ModelError(
            f"LoRA file {file.path!r} is an activated one (aLoRA), which begins at certain words; poolinfer runs"
            " adapters that hold for the whole text"
        )
    _check_pairs(file)
    return file


def _check_pairs(file: GgufFile) -> None:
    first, second = (
        {name.removesuffix(half) for name in file.tensors if name.endswith(half)} for half in _HALVES
    )
    if not first or first != second:
        alone = ", ".join(sorted(first ^ second)[:3]) or "all"
        raise ModelError(f"LoRA file {file.path!r} lacks one half of a pair of matrices: {alone}")
