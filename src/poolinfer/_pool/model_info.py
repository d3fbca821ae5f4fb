"""`ModelInfo`: what is known of a model before it is loaded. `Pool` and `Model` both stand on it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias, cast

from .._checks.budgets import WorkBudget
from .._checks.limits import LIMITS, check_option
from .._checks.model_fit import check_tokens
from .._checks.plain_data import check_pooling, flag
from .._checks.refusals import refuse
from .._checks.template_variables import check_variables
from .._data.errors import InvalidRequest, ModelError
from .._data.requests import Chat, Generation, Request
from .._data.sampling import LLAMA_CPP_SAMPLING, Sampling
from .._data.specs import FILES_ROPE, ModelSpec, Ranking
from .._data.text_requests import Pooling
from .._data.token_requests import ApplyTemplate
from .._gguf.model_file import ModelFile, read_model_file
from .._system.host_frames import level_of_host
from .load_options import Lora, check_gpus, lora_specs, rope_spec
from .text_support import check_text_options, check_texts, ranking_of

# The default of `n_ctx`: no more than this, and this where the file does not say what the model was trained for.
_MOST_N_CTX = 4096
_UNKNOWN_N_CTX = 2048


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A checked model file as plain data, which can be pickled: `Model.info` and `Pool.model`.

    Attributes:
        name: the model's name from its metadata, or else the name of its file.
        architecture: llama.cpp's name of the architecture (``"llama"``, ``"bert"``).
        size: bytes of the file, or of all files of a model that is split.
        n_ctx: tokens that one call may use by default, prompt and output together. This is what `Model.load` was
            given, or else at most 4 096, and no more than the model was trained for.
        n_ctx_train: tokens of context that the model was trained for; 0 when the file does not say.
        n_vocab: tokens in the vocabulary; 0 when the file does not list them.
        n_expert: experts in each layer of a mixture of experts; 0 for a dense model.
        kv_numbers_per_token: numbers of keys and of values that one token of context takes.
        head_widths: numbers in the key and in the value of one head.
        chat_template: Jinja source for chats: what `Model.load` was given, or else the file's own. None where there
            is neither, which leaves `raw` and `embed`.
        spec: what an executor needs to load the model.
        n_layer: layers of the model.
        n_parameters: numbers in all of its tensors.
        width: numbers in the vector of a text, before `dimensions`.
        file_type: how most of the weights are stored, as llama.cpp calls it (``"Q4_K_M"``); empty when the file
            does not say.
        general: what the file says of itself in general, as pairs of a key and a value (``("license", "mit")``).
    """

    name: str
    architecture: str
    size: int
    n_ctx: int
    n_ctx_train: int
    n_vocab: int
    n_expert: int
    kv_numbers_per_token: tuple[int, int]
    head_widths: tuple[int, int]
    chat_template: str | None = field(repr=False)
    spec: ModelSpec = field(repr=False)
    n_layer: int = 0
    n_parameters: int = 0
    width: int = 0
    file_type: str = ""
    general: tuple[tuple[str, str | int | float | bool], ...] = field(default=(), repr=False)

    @property
    def pooling(self) -> Pooling:
        """How embeddings are pooled unless a call says otherwise."""
        return self.spec.pooling

    @property
    def ranking(self) -> Ranking | None:
        """How the model ranks documents: by a head (its logit or probability), as a judge, or not at all."""
        return self.spec.ranking

    @property
    def path(self) -> str:
        """Absolute path of the file."""
        return self.spec.path

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of memory that one token of context takes, where keys and values are held as ``"f16"``."""
        return 2 * sum(self.kv_numbers_per_token)

    @property
    def generates(self) -> bool:
        """Whether the model generates text; one that does not only embeds."""
        return self.spec.generates

    @property
    def sampling(self) -> Sampling:
        """What requests have that leave sampling options open: the file's values, or else llama.cpp's."""
        return self.spec.sampling

    def check(self, request: Request) -> None:
        """Refuse what this model cannot do; called with every request, before an engine sees it.

        Raises:
            InvalidRequest: the model does not generate, embed or rank, whichever the request asks for; it has no
                chat template, no such token, or no vectors of so many dimensions.
        """
        check_texts(request, self.name, self.ranking, self.width, self.n_vocab)
        if not isinstance(request, Generation | ApplyTemplate):
            return
        if not self.generates:
            use = "only embeds; use embed" if self.ranking is None else "only ranks; use rerank"
            raise InvalidRequest(f"prompt: {self.name} {use}, or load a model that generates", field="prompt")
        if isinstance(request, Chat | ApplyTemplate) and not self.chat_template:
            raise InvalidRequest(
                f"prompt: {self.name} has no chat template; pass chat_template= to Model.load, or use raw",
                field="prompt",
            )
        if self.n_vocab and isinstance(request, Generation):
            check_tokens(request.logit_bias, self.n_vocab)

    def check_n_ctx(self, n_ctx: int) -> None:
        """Refuse a context that this model cannot fill, and warn of one longer than it was trained for.

        Raises:
            InvalidRequest: the model has learned fewer positions than that.
        """
        most = self.spec.n_positions
        if most is not None and n_ctx > most:
            raise InvalidRequest(
                f"n_ctx is {n_ctx}: {self.name} has learned {most} positions, and none after them;"
                f" use n_ctx={most} or less, and split longer texts",
                field="n_ctx",
            )
        if 0 < self.n_ctx_train < n_ctx and self.spec.rope == FILES_ROPE:
            warnings.warn(
                f"n_ctx is {n_ctx}, but {self.name} was trained for {self.n_ctx_train} tokens: what it says"
                f" after them is likely to be noise; use n_ctx={self.n_ctx_train} or less",
                stacklevel=level_of_host(),
            )


class HasModelInfo(Protocol):
    """A `Model`, or another object that knows the `ModelInfo` of one."""

    @property
    def info(self) -> ModelInfo:
        """The model as plain data."""
        ...


#: What a pool takes for a model: a `Model`, a `ModelInfo`, or the path of a GGUF file.
ModelSource: TypeAlias = HasModelInfo | ModelInfo | str | os.PathLike[str]


def model_info_of(model: ModelSource) -> ModelInfo:
    """What is known of a model, from the model itself or from its file.

    Raises:
        ModelError: the file cannot be used, or `model` is neither a model nor a path.
    """
    # A `pathlib.Path` has an attribute `info`, too, from Python 3.14 on.
    info = model if isinstance(model, ModelInfo) else getattr(model, "info", None)
    return info if isinstance(info, ModelInfo) else load_model_info(cast("str | os.PathLike[str]", model))


def load_model_info(
    path: str | os.PathLike[str],
    *,
    n_ctx: int | None = None,
    chat_template: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    pooling: Pooling | None = None,
    n_gpu_layers: int = 0,
    mmap: bool = True,
    mlock: bool = False,
    lora: Lora | Sequence[Lora] | None = None,
    main_gpu: int | None = None,
    tensor_split: Sequence[float] | None = None,
    reranker: Literal["judge"] | None = None,
    rerank_template: str | None = None,
    query_prefix: str | None = None,
    document_prefix: str | None = None,
    **rope: Any,
) -> ModelInfo:
    """Check a GGUF file and the options to load it with; `Model.load` explains them.

    Raises:
        ModelError: the file cannot be used.
        InvalidRequest: an option is out of bounds.
    """
    if n_ctx is not None:
        check_option("n_ctx", n_ctx)
    check_option("n_gpu_layers", n_gpu_layers)
    flag("mmap", mmap)
    flag("mlock", mlock)
    shares = check_gpus(n_gpu_layers, main_gpu, tensor_split)
    scaled = rope_spec(rope)
    check_pooling(pooling)
    if chat_template is not None and (not isinstance(chat_template, str) or not chat_template):
        refuse("chat_template", chat_template, "give Jinja source as a str, or None for the file's own")
    check_text_options(reranker, rerank_template, query_prefix, document_prefix)
    file = read_model_file(path)
    _check_kind(file)
    own = file.pooling
    spec = ModelSpec(
        path=os.path.abspath(file.path),
        identity=file.identity,
        generates=not file.embedding_only and file.pooling != "rank",
        causal=not file.embedding_only,
        pooling=pooling or ("mean" if own is None or own == "rank" else own),
        chat_template=chat_template,
        chat_template_kwargs=check_variables(chat_template_kwargs, WorkBudget()),
        n_gpu_layers=n_gpu_layers,
        mmap=mmap,
        mlock=mlock,
        n_positions=file.n_positions,
        sampling=_sampling(file),
        parts=file.parts,
        loras=lora_specs(lora, file.architecture),
        rope=scaled,
        main_gpu=main_gpu,
        tensor_split=shares,
        ranking=ranking_of(file, reranker),
        rerank_template=rerank_template,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
    )
    info = _describe(file, spec, n_ctx)
    if n_ctx is not None:
        info.check_n_ctx(n_ctx)
    return info


def _sampling(file: ModelFile) -> Sampling:
    """Sampling options of a model; of numbers beyond the limits, the nearest that is allowed."""
    found: dict[str, Any] = {}
    for name, value in file.sampling.items():
        limit = LIMITS[name]
        if not limit.holds(value):
            value = 0 if limit.zero and value < 0 else min(max(value, limit.low), limit.high)
        found[name] = int(value) if limit.whole else float(value)
    return replace(LLAMA_CPP_SAMPLING, **found)


def _describe(file: ModelFile, spec: ModelSpec, n_ctx: int | None) -> ModelInfo:
    return ModelInfo(
        name=file.name,
        architecture=file.architecture,
        size=file.size,
        n_ctx=n_ctx or min(file.n_ctx_train or _UNKNOWN_N_CTX, _MOST_N_CTX),
        n_ctx_train=file.n_ctx_train,
        n_vocab=file.n_vocab,
        n_expert=file.n_expert,
        kv_numbers_per_token=file.kv_numbers_per_token,
        head_widths=file.head_widths,
        chat_template=spec.chat_template or file.chat_template,
        spec=spec,
        n_layer=file.n_layer,
        n_parameters=file.n_parameters,
        width=file.n_embd_out,
        file_type=file.file_type,
        general=tuple(file.general.items()),
    )


def _check_kind(file: ModelFile) -> None:
    if file.encoder_decoder:
        raise ModelError(
            f"{file.path}: {file.architecture} is an encoder-decoder model, which poolinfer does not run;"
            " use a decoder-only or an embedding model"
        )
    if file.pooling == "rank" and not file.has_head:
        raise ModelError(
            f"{file.path}: its metadata say that it ranks, but it has no classifier head; convert the model again"
        )
