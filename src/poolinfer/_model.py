"""`Model`: a checked model file, and the calls on it through a pool of its own."""

from __future__ import annotations

import os
import threading
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from typing_extensions import Self

from ._call import Call
from ._calls import Calls
from ._errors import InvalidRequest, ModelError, PoolClosed
from ._gguf import ModelFile, read_model_file
from ._limits import check_option, check_tokens
from ._options import options_of
from ._requests import Chat, Embed, Pooling, Raw
from ._spec import ModelSpec
from ._stats import PoolStats

if TYPE_CHECKING:
    from ._pool import Pool


def demo_model() -> str:
    """Path of the tiny chat model that ships with poolinfer.

    It is a demonstration and a test oracle of one megabyte: it knows capitals, small sums, counting and a few
    tricks, and is of no other use.
    """
    return str(files("poolinfer") / "data" / "tiny.gguf")


class Model(Calls):
    """A model file that was checked and whose metadata was read; weights are mapped when first needed.

    Has the same calls as `Pool`, on an implicit in-process pool with default settings. Safe to use from any
    number of threads and event loops; a context manager, sync and async.
    """

    def __init__(self, file: ModelFile, spec: ModelSpec, n_ctx: int | None) -> None:
        self._file = file
        self.spec = spec
        self._n_ctx = n_ctx
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._closed = False

    @classmethod
    @options_of("Model.load")
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        n_ctx: int | None = None,
        chat_template: str | None = None,
        pooling: Pooling | None = None,
        n_gpu_layers: int = 0,
        mmap: bool = True,
        mlock: bool = False,
    ) -> Model:
        """Check a GGUF file and read its metadata; takes milliseconds, and never crashes on a bad file.

        Args:
            path: the file.
            n_ctx: tokens that one call may use, prompt and output together; None for what the pool chooses.
            chat_template: Jinja source to use instead of the file's own.
            pooling: how embeddings are pooled; None for what the file says, else ``"mean"``.
            n_gpu_layers: layers to put on a GPU, with a GPU build of llama-cpp-python; -1 for all.
            mmap: map the file, shared with other processes, instead of reading it into memory. With a mapped
                file, replace it by renaming, never in place.
            mlock: keep the weights from being swapped out.

        Raises:
            ModelError: the file is missing, not a regular file, not GGUF, truncated, malformed, or of a kind
                that poolinfer does not run.
            InvalidRequest: an option is out of bounds.
        """
        if n_ctx is not None:
            check_option("n_ctx", n_ctx)
        check_option("n_gpu_layers", n_gpu_layers)
        file = read_model_file(path)
        _check_kind(file)
        spec = ModelSpec(
            path=os.path.abspath(file.path),
            identity=file.identity,
            generates=not file.embedding_only,
            causal=not file.embedding_only,
            pooling=pooling or cast("Pooling", file.pooling) or "mean",
            chat_template=chat_template,
            n_gpu_layers=n_gpu_layers,
            mmap=mmap,
            mlock=mlock,
        )
        return cls(file, spec, n_ctx)

    @property
    def path(self) -> str:
        """Absolute path of the file."""
        return self.spec.path

    @property
    def name(self) -> str:
        """The model's name, from its metadata or else its file name."""
        return self._file.name or os.path.basename(self.path)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    @property
    def n_ctx_train(self) -> int:
        """Context length that the model was trained for."""
        return self._file.n_ctx_train

    @property
    def n_ctx(self) -> int:
        """Tokens that one call may use by default: at most 4 096, and no more than the model was trained for."""
        return self._n_ctx or min(self._file.n_ctx_train or 2048, 4096)

    @property
    def kv_bytes_per_token(self) -> int:
        """Memory that one token of context takes."""
        return self._file.kv_bytes_per_token

    @property
    def n_expert(self) -> int:
        """Experts in each layer of a mixture of experts; 0 for a dense model."""
        return self._file.n_expert

    def check(self, request: Chat | Raw | Embed) -> None:
        """Refuse what this model cannot do; called with every request, before an engine sees it.

        Raises:
            InvalidRequest: text from an embedding model, a chat without a template, a token id that the
                vocabulary does not have.
        """
        if isinstance(request, Embed):
            return
        if not self.spec.generates:
            raise InvalidRequest(
                f"prompt: {self.name} only embeds; use embed, or load a model that generates", field="prompt"
            )
        if isinstance(request, Chat) and not (self.spec.chat_template or self._file.chat_template):
            raise InvalidRequest(
                f"prompt: {self.name} has no chat template; pass chat_template= to Model.load, or use raw",
                field="prompt",
            )
        if self._file.n_vocab:
            check_tokens(request.logit_bias, self._file.n_vocab)

    @property
    def max_queue(self) -> int:
        """Most calls that may wait in the implicit pool."""
        return self._implicit().max_queue

    def submit(self, request: Chat | Raw | Embed) -> Call[Any]:
        """Submit a request to the implicit pool: see `Pool.submit`.

        Raises:
            PoolClosed: the model was closed.
        """
        return self._implicit().submit(request)

    def stats(self) -> PoolStats:
        """A snapshot of the implicit pool."""
        return self._implicit().stats()

    def _implicit(self) -> Pool:
        from ._pool import Pool

        with self._lock:
            if self._closed:
                raise PoolClosed("the model is closed; load it again")
            if self._pool is None:
                self._pool = Pool(self)
            return self._pool

    def close(self, grace: float = 30.0) -> None:
        """Close the implicit pool, as `Pool.close` does; idempotent. Pools made of this model go on."""
        with self._lock:
            self._closed = True
            pool = self._pool
        if pool is not None:
            pool.close(grace)

    async def aclose(self, grace: float = 30.0) -> None:
        """`close` for async code."""
        with self._lock:
            self._closed = True
            pool = self._pool
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
        return f"<Model {self.name!r} {self._file.architecture}, n_ctx {self.n_ctx}>"


def _check_kind(file: ModelFile) -> None:
    if file.encoder_decoder:
        raise ModelError(
            f"{file.path}: {file.architecture} is an encoder-decoder model, which poolinfer does not run;"
            " use a decoder-only or an embedding model"
        )
    if file.pooling == "rank":
        raise ModelError(f"{file.path}: this is a reranking model, which poolinfer does not run yet")
