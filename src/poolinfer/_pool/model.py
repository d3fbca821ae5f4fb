"""`Model`: a checked model file, and the calls on it through a pool of its own."""

from __future__ import annotations

import inspect
import os
import warnings
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from typing_extensions import Self

from .._checks.limits import check_option
from .._checks.model_fit import check_tokens
from .._checks.plain_data import check_pooling, flag
from .._checks.refusals import refuse
from .._data.errors import InvalidRequest, ModelError, PoolClosed
from .._data.option_names import options_of
from .._data.requests import Chat, Embed, Pooling, Request
from .._data.specs import ModelSpec
from .._data.stats import PoolStats
from .._gguf.model_file import ModelFile, read_model_file
from .call import Call
from .call_methods import Calls

if TYPE_CHECKING:
    from .pool import Pool


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
        # No lock: one that another thread holds while this process forks would stay locked in the child.
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
        pooling: Pooling | None = None,
        n_gpu_layers: int = 0,
        mmap: bool = True,
        mlock: bool = False,
    ) -> Model:
        """Check a GGUF file and read its metadata; takes milliseconds, and never crashes on a bad file.

        Args:
            path: the file.
            n_ctx: tokens that one call may use, prompt and output together; None for what the pool chooses.
                More than the model was trained for gives a warning, and is refused where the model has learned
                a fixed number of positions.
            chat_template: Jinja source to use instead of the file's own.
            pooling: how embeddings are pooled; None for what the file says, else ``"mean"``.
            n_gpu_layers: layers to put on a GPU, with a GPU build of llama-cpp-python; -1 for all. Where there is
                none, they stay on the CPU, and a warning is logged.
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
        flag("mmap", mmap)
        flag("mlock", mlock)
        check_pooling(pooling)
        if chat_template is not None and (not isinstance(chat_template, str) or not chat_template):
            refuse("chat_template", chat_template, "give Jinja source as a str, or None for the file's own")
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
            n_positions=file.n_positions,
        )
        model = cls(file, spec, n_ctx)
        if n_ctx is not None:
            model.check_n_ctx(n_ctx)
        return model

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

    def check(self, request: Request) -> None:
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
        if 0 < self.n_ctx_train < n_ctx:
            warnings.warn(
                f"n_ctx is {n_ctx}, but {self.name} was trained for {self.n_ctx_train} tokens: what it says"
                f" after them is likely to be noise; use n_ctx={self.n_ctx_train} or less",
                stacklevel=_level_of_host(),
            )

    @property
    def max_queue(self) -> int:
        """Most calls that may wait in the implicit pool."""
        return self._implicit().max_queue

    def _submit(self, request: Request) -> Call[Any]:
        """See `Calls.submit`; also raises PoolClosed after `close`."""
        return self._implicit()._submit(request)

    def _slots(self) -> int:
        return self._implicit()._slots()

    def stats(self) -> PoolStats:
        """A snapshot of the implicit pool."""
        return self._implicit().stats()

    def _implicit(self) -> Pool:
        pool = self._made.get("pool")
        if pool is None and not self._closed:
            from .pool import Pool

            # Of several that race, one pool stays; the others have not started, and go quietly.
            pool = self._made.setdefault("pool", Pool(self))
        # After the pool was noted: `close` has seen it, or is seen here.
        if pool is None or self._closed:
            raise PoolClosed("the model is closed; load it again")
        return pool

    def close(self, grace: float = 30.0) -> None:
        """Close the implicit pool, as `Pool.close` does; idempotent. Pools made of this model go on."""
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
        return f"<Model {self.name!r} {self._file.architecture}, n_ctx {self.n_ctx}>"


def _level_of_host() -> int:
    """How many frames above its caller the host's own code is: the line that a warning should name."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("poolinfer."):
        level, frame = level + 1, frame.f_back
    return level


def _check_kind(file: ModelFile) -> None:
    if file.encoder_decoder:
        raise ModelError(
            f"{file.path}: {file.architecture} is an encoder-decoder model, which poolinfer does not run;"
            " use a decoder-only or an embedding model"
        )
    if file.pooling == "rank":
        raise ModelError(f"{file.path}: this is a reranking model, which poolinfer does not run yet")
