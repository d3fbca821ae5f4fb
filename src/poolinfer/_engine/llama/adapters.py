"""LoRA adapters of a model that llama.cpp has loaded."""

from __future__ import annotations

import os
from typing import Any

from ..._data.errors import ModelError
from ..._data.specs import FileSpec


def load_adapter(api: Any, model: Any, file: FileSpec) -> Any:
    """A LoRA adapter of a loaded model.

    Raises:
        ModelError: llama.cpp cannot load it.
    """
    adapter = api.llama_adapter_lora_init(model, os.fsencode(file.path))
    if not adapter:
        raise ModelError(
            f"{file.path}: llama.cpp cannot load this LoRA adapter; give the logger 'poolinfer.llama' a level to"
            " learn why"
        )
    return adapter
