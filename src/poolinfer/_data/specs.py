"""Which model file the lanes of a pool run, and how, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .kv_types import KVType
from .sampling import LLAMA_CPP_SAMPLING, Sampling
from .text_requests import Pooling

#: How a model ranks documents: by a classifier head that gives a logit or a probability, or as a judge that is
#: asked for a "yes" or a "no".
Ranking: TypeAlias = Literal["logit", "probability", "judge"]


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file as it was when it was checked.

    Attributes:
        path: the file.
        identity: the file's device, inode, size and mtime (ns).
    """

    path: str
    identity: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """A LoRA adapter of a model.

    Attributes:
        file: the GGUF file.
        scale: how much of it is added to the weights.
    """

    file: FileSpec
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeSpec:
    """How positions are scaled (RoPE); None for what the model's file says. `Model.load` explains the fields."""

    rope_scaling_type: str | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    yarn_orig_ctx: int | None = None


#: As the model's file says.
FILES_ROPE = RopeSpec()


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A checked model file and how to load it.

    Attributes:
        path: the GGUF file.
        identity: device, inode, size and mtime (ns) of the file when it was checked.
        generates: whether the model can generate text.
        causal: whether tokens attend only to earlier ones.
        pooling: how token vectors become one vector.
        chat_template: Jinja source to use instead of the file's own, or None.
        chat_template_kwargs: variables for the chat template; those of a call go before them.
        n_gpu_layers: layers to put on a GPU; -1 for all.
        mmap: whether the file is mapped, and so shared between processes, instead of read into memory.
        mlock: whether the weights are kept from being swapped out.
        n_positions: positions that the model has learned, which bound the context; None where positions are
            computed.
        ranking: how the model ranks documents; None for one that does not.
        rerank_template: the prompt of a query and a document, with ``{query}`` and ``{document}`` in their places;
            None for the file's own, or what suits the kind of `ranking`.
        query_prefix: what is put before a text to embed that is a query; None where nobody has said.
        document_prefix: what is put before a text to embed that is a document; None where nobody has said.
        repack: whether ggml copies weights into a layout that suits the processor. Prompts are computed faster with
            it, but the copies are private memory, which processes cannot share.
        sampling: sampling options for requests that leave them open.
        parts: the other files of a model that is split into several.
        loras: LoRA adapters.
        rope: how positions are scaled.
        main_gpu: the only GPU to use; None for all.
        tensor_split: the share of each GPU; None for llama.cpp's choice.
    """

    path: str
    identity: tuple[int, int, int, int]
    generates: bool = True
    causal: bool = True
    pooling: Pooling = "mean"
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    n_gpu_layers: int = 0
    mmap: bool = True
    mlock: bool = False
    n_positions: int | None = None
    repack: bool = True
    sampling: Sampling = LLAMA_CPP_SAMPLING
    parts: tuple[FileSpec, ...] = ()
    loras: tuple[LoraSpec, ...] = ()
    rope: RopeSpec = FILES_ROPE
    main_gpu: int | None = None
    tensor_split: tuple[float, ...] | None = None
    ranking: Ranking | None = None
    rerank_template: str | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None

    @property
    def files(self) -> tuple[FileSpec, ...]:
        """All files that the model is loaded from."""
        return FileSpec(self.path, self.identity), *self.parts, *(lora.file for lora in self.loras)


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """How one lane runs its model.

    Attributes:
        slots: calls decoded together.
        n_ctx: tokens that one call may use, prompt and output together.
        threads: threads that compute.
        n_batch: most prompt tokens of one step. With one slot, a prompt is cut into pieces of exactly so many.
        latency_target: seconds that a step may take while somebody is decoding.
        prefix_cache: whether prompts reuse what earlier ones have in common with them.
        kv_tokens: tokens that the calls of the lane may use together; None for `slots` times `n_ctx`.
        flash_attention: whether llama.cpp computes attention in one fused operation; None for its own choice.
        type_k: the type in which the context holds keys.
        type_v: the type in which the context holds values.
    """

    slots: int = 4
    n_ctx: int = 2048
    threads: int = 1
    n_batch: int = 512
    latency_target: float = 0.25
    prefix_cache: bool = True
    kv_tokens: int | None = None
    flash_attention: bool | None = None
    type_k: KVType = "f16"
    type_v: KVType = "f16"
