"""`Model`: a checked model file, and the calls on it through a pool of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import TracebackType
from typing import Any, Literal, NoReturn

from typing_extensions import Self

from .._data.errors import PoolClosed
from .._data.option_names import options_of
from .._data.requests import Request
from .._data.specs import ModelSpec
from .._data.stats import PoolStats
from .._data.text_requests import Pooling
from .call import Call
from .call_methods import CallMethods
from .load_options import Lora
from .model_info import ModelInfo, load_model_info
from .pool import Pool


def demo_model() -> str:
    """Path of the tiny chat model that ships with poolinfer.

    The model has one megabyte, and is there for demonstrations and tests: it knows capitals, small sums, counting
    and a few tricks, and is of no other use.
    """
    return str(files("poolinfer") / "data" / "tiny.gguf")


class Model(CallMethods):
    """A model file that was checked and whose metadata was read; its weights are loaded when first needed.

    Has the same calls as `Pool`. They run on a pool with default settings, which the model makes at the first call.
    May be used from any number of threads and event loops; a context manager, sync and async.
    """

    def __init__(self, info: ModelInfo) -> None:
        self._info = info
        # A dict, as its `setdefault` is atomic. A lock that another thread holds during a fork would stay locked in
        # the child.
        self._made: dict[str, Pool] = {}
        self._closed = False

    @classmethod
    @options_of("Model.load")
    def load(
        cls,
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
        rope_scaling_type: Literal["none", "linear", "yarn", "longrope"] | None = None,
        rope_freq_base: float | None = None,
        rope_freq_scale: float | None = None,
        yarn_ext_factor: float | None = None,
        yarn_attn_factor: float | None = None,
        yarn_beta_fast: float | None = None,
        yarn_beta_slow: float | None = None,
        yarn_orig_ctx: int | None = None,
        reranker: Literal["judge"] | None = None,
        rerank_template: str | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
    ) -> Model:
        """Check a GGUF file and read its metadata; takes milliseconds, and never crashes on a bad file.

        Args:
            path: the file; of a split model the first (``...-00001-of-00003.gguf``), beside which the others lie.
            n_ctx: tokens that one call may use, prompt and output together; None for what the pool chooses.
                More than the model was trained for gives a warning, and is refused where the model has learned
                a fixed number of positions.
            chat_template: Jinja source to use instead of the file's own.
            chat_template_kwargs: variables for the chat template in every call, as JSON has values. A call's own
                `chat_template_kwargs` go before them.
            pooling: how embeddings are pooled; None for what the file says, else ``"mean"``.
            n_gpu_layers: layers to put on a GPU, with a GPU build of llama-cpp-python; -1 for all. Where there is
                none, they stay on the CPU, and a warning is logged.
            mmap: map the file, shared with other processes, instead of reading it into memory. With a mapped
                file, replace it by renaming, never in place.
            mlock: keep the weights from being swapped out.
            lora: a LoRA adapter, or several, which all calls are computed with: GGUF files, each as a path or as
                (path, scale). Models that differ in nothing but their adapters share the weights of a process.
            main_gpu: number of the only GPU to use; None for all GPUs.
            tensor_split: how much of the model each GPU gets, in any unit; None for llama.cpp's choice.
            rope_scaling_type: how positions are scaled; None for what the file says, as in the next seven.
            rope_freq_base: base of the frequencies of RoPE.
            rope_freq_scale: factor of positions; 0.25 is for four times the tokens that the model was trained for.
            yarn_ext_factor: how much YaRN extrapolates; 0 is not at all.
            yarn_attn_factor: factor of attention with YaRN.
            yarn_beta_fast: rotations above which YaRN leaves a dimension as it is.
            yarn_beta_slow: rotations below which YaRN scales a dimension like all others.
            yarn_orig_ctx: tokens of context that the model was trained for before YaRN.
            reranker: ``"judge"`` to have `rerank` ask the model whether a document answers a query; the score
                follows from how likely "yes" is and "no". None for what the file says: one with a classifier head
                ranks by that, and one that brings a template for reranking, or is called a reranker, is a judge.
            rerank_template: the prompt of a query and a document to use instead of the file's own, with
                ``{query}`` and ``{document}`` in their places. It may spell control tokens.
            query_prefix: what `embed` puts before a text with ``input_type="query"``; GGUF files do not say it.
            document_prefix: what `embed` puts before a text with ``input_type="document"``.

        Raises:
            ModelError: the file is missing, not a regular file, not GGUF, truncated, malformed, or of a kind
                that poolinfer does not run.
            InvalidRequest: an option is out of bounds.
        """
        info = load_model_info(
            path,
            n_ctx=n_ctx,
            chat_template=chat_template,
            chat_template_kwargs=chat_template_kwargs,
            pooling=pooling,
            n_gpu_layers=n_gpu_layers,
            mmap=mmap,
            mlock=mlock,
            lora=lora,
            main_gpu=main_gpu,
            tensor_split=tensor_split,
            rope_scaling_type=rope_scaling_type,
            rope_freq_base=rope_freq_base,
            rope_freq_scale=rope_freq_scale,
            yarn_ext_factor=yarn_ext_factor,
            yarn_attn_factor=yarn_attn_factor,
            yarn_beta_fast=yarn_beta_fast,
            yarn_beta_slow=yarn_beta_slow,
            yarn_orig_ctx=yarn_orig_ctx,
            reranker=reranker,
            rerank_template=rerank_template,
            query_prefix=query_prefix,
            document_prefix=document_prefix,
        )
        return cls(info)

    @property
    def info(self) -> ModelInfo:
        """All that is known of the model, as plain data."""
        return self._info

    @property
    def spec(self) -> ModelSpec:
        """What an executor needs to load the model."""
        return self._info.spec

    @property
    def path(self) -> str:
        """Absolute path of the file."""
        return self._info.path

    @property
    def name(self) -> str:
        """The model's name, from its metadata or else its file name."""
        return self._info.name

    @property
    def size(self) -> int:
        """Bytes of the file, or of all files of a model that is split."""
        return self._info.size

    @property
    def n_ctx_train(self) -> int:
        """Tokens of context that the model was trained for; 0 when the file does not say."""
        return self._info.n_ctx_train

    @property
    def n_ctx(self) -> int:
        """Tokens that one call may use by default, prompt and output together."""
        return self._info.n_ctx

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of memory that one token of context takes."""
        return self._info.kv_bytes_per_token

    @property
    def n_expert(self) -> int:
        """Experts in each layer of a mixture of experts; 0 for a dense model."""
        return self._info.n_expert

    @property
    def max_queue(self) -> int:
        """Most calls that may wait in the model's own pool."""
        return self._own_pool().max_queue

    def _submit(self, request: Request) -> Call[Any]:
        """See `CallMethods.submit`; also raises PoolClosed after `close`."""
        return self._own_pool()._submit(request)

    def _slots(self) -> int:
        return self._own_pool()._slots()

    def stats(self) -> PoolStats:
        """A snapshot of the model's own pool."""
        return self._own_pool().stats()

    def _own_pool(self) -> Pool:
        pool = self._made.get("pool")
        if pool is None and not self._closed:
            # If several threads make one, the first stays; the others have not started, and need no close.
            pool = self._made.setdefault("pool", Pool(self._info))
        # Looked at after the pool was noted: either `close` sees the pool, or this sees that it was closed.
        if pool is None or self._closed:
            raise PoolClosed("the model is closed; load it again")
        return pool

    def close(self, grace: float = 30.0) -> None:
        """Close the model's own pool, as `Pool.close` does; idempotent. Pools made of this model go on."""
        self._closed = True
        pool = self._made.get("pool")
        if pool is not None:
            pool.close(grace)

    async def aclose(self, grace: float = 30.0) -> None:
        """`close` for async code."""
        self._closed = True
        pool = self._made.get("pool")
        if pool is not None:
            await pool.aclose(grace)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(0.0 if kind is not None else 30.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(0.0 if kind is not None else 30.0)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Model belongs to its process and cannot be pickled or copied; load it where it is used"
        )

    def __repr__(self) -> str:
        return f"<Model {self.name!r} {self._info.architecture}, n_ctx {self.n_ctx}>"
