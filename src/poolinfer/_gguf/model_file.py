"""What a GGUF model file says of itself, read in Python, so that only a sound file reaches the C loader."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .._data.errors import ModelError
from .._data.specs import FileSpec
from .file_types import FILE_TYPES
from .gguf_file import read_gguf_file
from .metadata import ArrayInfo
from .split_files import is_other_part, other_parts

__all__ = ["ArrayInfo", "FilePooling", "ModelFile", "read_model_file"]

#: How a model's metadata says that token vectors become one; ``"rank"`` is a reranker's score.
FilePooling: TypeAlias = Literal["mean", "cls", "last", "rank"]

_ENCODER_DECODER = frozenset({"t5"})
_EMBEDDING_ONLY = frozenset(
    (
        *("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3"),
        *("eurobert", "gemma-embedding", "llama-embed", "t5encoder"),
    )
)
_POOLINGS: Mapping[int, FilePooling] = {1: "mean", 2: "cls", 3: "last", 4: "rank"}
#: A table of one row for each position: llama.cpp aborts the process at a row that is not there.
_POSITIONS = "position_embd.weight"
#: Sampling options by poolinfer's name: the end of llama.cpp's key.
_SAMPLING: Mapping[str, str] = {
    "temperature": "temp",
    "repeat_last_n": "penalty_last_n",
    "repeat_penalty": "penalty_repeat",
    **{name: name for name in ("top_k", "top_p", "min_p", "xtc_probability", "xtc_threshold")},
    **{name: name for name in ("mirostat", "mirostat_tau", "mirostat_eta")},
}
#: The last matrix of a classifier head.
_HEADS = ("cls.output.weight", "cls.weight")
_REQUIRED = ("general.architecture", "tokenizer.ggml.model")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checked GGUF file.

    Attributes:
        path: the file's absolute path.
        identity: the file's device, inode, size and mtime (ns), which differ once the file was replaced.
        metadata: the file's key-value pairs; long arrays and texts are `ArrayInfo`.
        n_tensors: number of tensors in all files.
        n_positions: positions that the model has learned; None where positions are computed, which have no bound.
        parts: the other files of a model that is split into several.
        n_parameters: numbers in all tensors together.
        has_head: whether the file has a classifier head that gives as many numbers as llama.cpp reads.
    """

    path: str
    identity: tuple[int, int, int, int]
    metadata: Mapping[str, object] = field(repr=False, hash=False)
    n_tensors: int
    n_positions: int | None = None
    parts: tuple[FileSpec, ...] = ()
    n_parameters: int = 0
    has_head: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.identity[2] + sum(part.identity[2] for part in self.parts)

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture (``"llama"``, ``"bert"``)."""
        return self._text("general.architecture") or ""

    @property
    def name(self) -> str:
        """The model's own name, or else its file's."""
        return self._text("general.name") or os.path.basename(self.path)

    @property
    def n_ctx_train(self) -> int:
        """Tokens of context that the model was trained for; 0 when the file does not say."""
        return self._number("context_length")

    @property
    def n_layer(self) -> int:
        """Layers of the model."""
        return self._number("block_count")

    @property
    def n_embd(self) -> int:
        """Width of the model: numbers in the vector of a token."""
        return self._number("embedding_length")

    @property
    def n_expert(self) -> int:
        """Experts of a layer; 0 for a dense model."""
        return self._number("expert_count")

    @property
    def n_vocab(self) -> int:
        """Tokens in the vocabulary, or 0 when the file does not list them."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return tokens.length if isinstance(tokens, ArrayInfo) else 0

    @property
    def chat_template(self) -> str | None:
        """Jinja source of its chat template, or None."""
        return self._text("tokenizer.chat_template")

    @property
    def n_embd_out(self) -> int:
        """Numbers in the vector of a text."""
        return self._number("embedding_length_out") or self.n_embd

    @property
    def has_rerank_template(self) -> bool:
        """Whether the file brings a prompt for a query and a document."""
        return self._text("tokenizer.chat_template.rerank") is not None

    @property
    def file_type(self) -> str:
        """How most of the weights are stored, as llama.cpp calls it (``"Q4_K_M"``); empty if it is not said."""
        kind = self.metadata.get("general.file_type")
        return FILE_TYPES.get(kind, f"type {kind}") if isinstance(kind, int) else ""

    @property
    def general(self) -> dict[str, str | int | float | bool]:
        """What the file says of itself in general, without the beginning ``general.`` of the keys."""
        return {
            key.removeprefix("general."): value
            for key, value in self.metadata.items()
            if key.startswith("general.") and isinstance(value, str | int | float | bool)
        }

    @property
    def kv_numbers_per_token(self) -> tuple[int, int]:
        """Numbers of keys and of values that a KV cache holds of a token; sliding windows take less."""
        heads = self._numbers("attention.head_count")
        kv_heads = self._numbers("attention.head_count_kv") or heads
        key, value = self.head_widths
        # A list has one entry per layer (0 where a hybrid's layer is recurrent).
        total = sum(kv_heads) * (self.n_layer if len(kv_heads) == 1 else 1)
        return key * total, value * total

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of an f16 KV cache that one token takes."""
        return 2 * sum(self.kv_numbers_per_token)

    @property
    def head_widths(self) -> tuple[int, int]:
        """Numbers in the key and in the value of one head."""
        most = max(self._numbers("attention.head_count"), default=0)
        head = self.n_embd // most if most else 0
        return self._number("attention.key_length") or head, self._number("attention.value_length") or head

    @property
    def encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt before a decoder writes (T5)."""
        return self.architecture in _ENCODER_DECODER

    @property
    def embedding_only(self) -> bool:
        """Whether the model makes vectors and cannot continue a text, as BERT does."""
        causal = self.metadata.get(f"{self.architecture}.attention.causal")
        return self.architecture in _EMBEDDING_ONLY or causal is False

    @property
    def pooling(self) -> FilePooling | None:
        """How the metadata says that token vectors become one; None when they do not say."""
        return _POOLINGS.get(self._number("pooling_type"))

    @property
    def sampling(self) -> dict[str, float]:
        """Sampling options that the file has for the model, by the names of `Sampling`."""
        found = {name: self.metadata.get(f"general.sampling.{key}") for name, key in _SAMPLING.items()}
        return {
            # llama.cpp reads these numbers with six digits after the point.
            name: round(value, 6)
            for name, value in found.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) and value else None

    def _numbers(self, key: str) -> tuple[int, ...]:
        value = self.metadata.get(f"{self.architecture}.{key}")
        items = value if isinstance(value, tuple) else (value,)
        return tuple(n for n in items if isinstance(n, int) and not isinstance(n, bool) and n >= 0)

    def _number(self, key: str) -> int:
        return max(self._numbers(key), default=0)


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Check a GGUF file, and the other parts of a split one, and read its metadata.

    Never blocks, and runs no native code on the files.

    Raises:
        ModelError: a file cannot be opened, is no regular file, or is not a sound GGUF model. Or a part is missing,
            or is one of another model.
    """
    file = read_gguf_file(path, "model file")
    for key in _REQUIRED:
        value = file.metadata.get(key)
        if not isinstance(value, str) or not value:
            if is_other_part(file):
                break
            raise ModelError(f"model file {file.path!r} is not a language model: it has no text {key!r}")
    parts = other_parts(file)
    tensors = {name: dims for part in (file, *parts) for name, dims in part.tensors.items()}
    return ModelFile(
        path=file.path,
        identity=file.identity,
        metadata=file.metadata,
        n_tensors=len(tensors),
        n_positions=math.prod(tensors[_POSITIONS][1:]) if _POSITIONS in tensors else None,
        parts=tuple(FileSpec(part.path, part.identity) for part in parts),
        n_parameters=sum(map(math.prod, tensors.values())),
        has_head=_has_head(file.metadata, tensors),
    )


def _has_head(metadata: Mapping[str, object], tensors: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a classifier's output has one number for each of its labels, or just one.

    Where it has not, llama.cpp would take the numbers of one sequence for those of another.
    """
    labels = metadata.get(f"{metadata['general.architecture']}.classifier.output_labels")
    n = len(labels) if isinstance(labels, tuple) and labels else 1
    # `jina-bert-v2` alone has its one number after the first matrix.
    return any(name in tensors and math.prod(tensors[name][1:]) == n for name in _HEADS)
