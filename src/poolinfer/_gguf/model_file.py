"""What a GGUF model file says of itself, read in Python, so that only a sound file reaches the C loader."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .._data.errors import ModelError
from .file_types import FILE_TYPES
from .header_parser import parse_header
from .header_reader import Unsound
from .metadata import ArrayInfo

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
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "directory"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checked GGUF file.

    Attributes:
        path: the file's absolute path.
        device: the device that the file is on.
        inode: the file's number on that device.
        size: the file's size in bytes.
        mtime_ns: when the file was last changed, in nanoseconds.
        metadata: the file's key-value pairs; long arrays and texts are `ArrayInfo`.
        n_tensors: number of tensors in the file.
        n_positions: positions that the model has learned; None where positions are computed, which have no bound.
        n_parameters: numbers in all tensors together.
        has_head: whether the file has a classifier head that gives as many numbers as llama.cpp reads.
    """

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    metadata: Mapping[str, object] = field(repr=False, hash=False)
    n_tensors: int
    n_positions: int | None = None
    n_parameters: int = 0
    has_head: bool = False

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """Device, inode, size and mtime, which differ once the file was replaced."""
        return self.device, self.inode, self.size, self.mtime_ns

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
    def kv_bytes_per_token(self) -> int:
        """Bytes of f16 KV cache that one token takes, over all layers; sliding windows take less."""
        heads = self._numbers("attention.head_count")
        kv_heads = self._numbers("attention.head_count_kv") or heads
        most = max(heads, default=0)
        head = self.n_embd // most if most else 0
        key = self._number("attention.key_length") or head
        value = self._number("attention.value_length") or head
        # A list has one entry per layer (0 where a hybrid's layer is recurrent).
        total = sum(kv_heads) * (self.n_layer if len(kv_heads) == 1 else 1)
        return 2 * (key + value) * total

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
    """Check a GGUF file and read its metadata; never blocks, and runs no native code on it.

    Raises:
        ModelError: the file cannot be opened, is no regular file, or is not a sound GGUF model.
    """
    try:
        name = _path(path)
        fd = _open(name)
        try:
            return _read(name, fd)
        finally:
            os.close(fd)
    except Unsound as error:
        raise ModelError(f"model file {os.fspath(path)!r} {error}") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"model file {os.fspath(path)!r} cannot be read: {reason}") from error


def _path(path: object) -> str:
    if not isinstance(path, str | os.PathLike):
        raise ModelError(f"model path is of type {type(path).__name__}: use a str or a Path")
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise ModelError(f"model path {name!r} is empty or holds a NUL character")
    return os.path.abspath(name)


def _open(name: str) -> int:
    # Checked before opening as well: even a non-blocking open lets the writer of a FIFO go on.
    _regular(os.stat(name))
    flags = os.O_RDONLY
    for wanted in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
        flags |= getattr(os, wanted, 0)
    return os.open(name, flags)


def _regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((kind for test, kind in _KINDS if test(found.st_mode)), "special file")
        raise Unsound(f"is a {kind}, not a regular file")


def _read(name: str, fd: int) -> ModelFile:
    found = os.fstat(fd)
    _regular(found)
    if found.st_size == 0:
        raise Unsound("is empty")
    metadata, tensors = parse_header(fd, found.st_size)
    for key in _REQUIRED:
        value = metadata.get(key)
        if not isinstance(value, str) or not value:
            raise Unsound(f"is not a language model: it has no text {key!r}")
    return ModelFile(
        path=name,
        device=found.st_dev,
        inode=found.st_ino,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        metadata=metadata,
        n_tensors=len(tensors),
        n_positions=math.prod(tensors[_POSITIONS][1:]) if _POSITIONS in tensors else None,
        n_parameters=sum(map(math.prod, tensors.values())),
        has_head=_has_head(metadata, tensors),
    )


def _has_head(metadata: Mapping[str, object], tensors: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a classifier's output has one number for each of its labels, or just one.

    Where it has not, llama.cpp would take the numbers of one sequence for those of another.
    """
    labels = metadata.get(f"{metadata['general.architecture']}.classifier.output_labels")
    n = len(labels) if isinstance(labels, tuple) and labels else 1
    # `jina-bert-v2` alone has its one number after the first matrix.
    return any(name in tensors and math.prod(tensors[name][1:]) == n for name in _HEADS)
