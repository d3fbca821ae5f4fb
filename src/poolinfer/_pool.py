"""`Pool`: many concurrent calls on one model, from threads, asyncio and trio alike.

    host code ──> Pool (policy) ──> Executor (where) ──> Lane (one llama context) ──> slots (one call each)

This file is the public face; `poolinfer._core` is the machinery.
"""

from __future__ import annotations

import os
import warnings
from types import TracebackType
from typing import Any, Literal, NoReturn

import anyio
import anyio.to_thread
from typing_extensions import Self

from ._call import Call
from ._calls import Calls
from ._core import Core
from ._errors import InvalidRequest, PoolinferError
from ._executor import Executor
from ._limits import check_option, number
from ._machine import available_memory, cores
from ._model import Model
from ._normalize import normalize
from ._requests import Chat, Embed, Raw
from ._spec import LaneSpec, ModelSpec
from ._stats import PoolStats

_SLOTS = 8
_MEMORY_SHARE = 0.25
# Threads meet at a barrier after every operation: with less than this to read, waiting outweighs the work.
_BYTES_PER_THREAD = 64 * 2**20


class Pool(Calls):
    """Runs calls on a model: `workers` lanes, each decoding up to `slots` calls together.

    One class for sync and async code. Starts by itself at the first call (loading goes on in the background),
    or when entered as a context manager, which waits until the model is loaded.

    Args:
        model: a `Model`, or the path of a GGUF file. May be None with an executor object of one's own.
        executor: where lanes run: ``"thread"`` (this process), ``"process"`` (worker processes, of one lane each,
            so that a native crash costs one worker's calls), or an object with the `Executor` protocol.
        workers: lanes; None for 1.
        slots: calls decoded together in a lane; None for 8, or fewer if their context would take more than a
            quarter of the free memory. ``slots=1`` gives output that never depends on the neighbours.
        threads: threads that compute, per lane; None for the cores this process may use, divided by workers,
            or fewer for a model so small that sharing its work costs more than it saves.
        n_ctx: tokens that one call may use, prompt and output together; None for the model's `n_ctx`.
        n_batch: most tokens of one engine step.
        max_queue: most calls that may wait; one more raises `PoolFull` at once.
        latency_target: seconds that an engine step may take while somebody is decoding; bounds how much of
            a long prompt is computed in one go, and how late a cancel can be.
        share: with ``"process"``: ``"mmap"`` keeps all weights in the mapped file, which the workers share;
            ``"repack"`` gives each worker a copy of part of them, in a layout made for the processor.
        retries: with ``"process"``: how often a call is run again whose worker died before anything of it was
            seen.
        max_calls: with ``"process"``: calls after which a worker is replaced; None for no bound.
        max_rss: with ``"process"``: bytes of memory above which a worker is replaced between calls; None for no
            bound.

    Raises:
        InvalidRequest: an option is out of bounds.
        ModelError: `model` is a path and the file cannot be used.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str] | None = None,
        *,
        executor: Literal["thread", "process"] | Executor = "thread",
        workers: int | None = None,
        slots: int | None = None,
        threads: int | None = None,
        n_ctx: int | None = None,
        n_batch: int = 512,
        max_queue: int = 1000,
        latency_target: float = 0.25,
        share: Literal["mmap", "repack"] = "mmap",
        retries: int = 1,
        max_calls: int | None = None,
        max_rss: int | None = None,
    ) -> None:
        for name, value in (("workers", workers), ("slots", slots), ("threads", threads), ("n_ctx", n_ctx)):
            if value is not None:
                check_option(name, value)
        check_option("n_batch", n_batch)
        check_option("max_queue", max_queue)
        check_option("latency_target", latency_target)
        self._process_options = _process_options(share, retries, max_calls, max_rss)
        self._max_queue = max_queue
        self._own_executor = None if isinstance(executor, str) else executor
        self._model: Model | None = None
        if self._own_executor is None:
            self._model = _as_model(model, executor)
            self._place = executor
            self._workers = workers or 1
            size = n_ctx or self._model.n_ctx
            self._lane = LaneSpec(
                slots=slots or _default_slots(self._model, size, self._workers),
                n_ctx=size,
                threads=threads or _default_threads(self._model, self._workers),
                n_batch=n_batch,
                latency_target=latency_target,
            )
        self._core = Core(self._make, max_queue)

    def _make(self) -> Executor:
        if self._own_executor is not None:
            return self._own_executor
        spec, lane = self.model.spec, self._lane
        if self._place == "process":
            from ._executors.process import ProcessExecutor

            return ProcessExecutor(spec, lane, workers=self._workers, **self._process_options)
        from ._executors.thread import ThreadExecutor

        return ThreadExecutor(
            lambda cancelled: _load(spec, lane, cancelled), workers=self._workers, lane=lane
        )

    @property
    def model(self) -> Model:
        """The pool's model.

        Raises:
            InvalidRequest: the pool was made of an executor object without one.
        """
        if self._model is None:
            raise InvalidRequest("model: this pool was made of an executor, without a model", field="model")
        return self._model

    @property
    def max_queue(self) -> int:
        """Most calls that may wait."""
        return self._max_queue

    def start(self) -> None:
        """Load the model now and wait for it; calls do this by themselves, in the background.

        Raises:
            ModelError: the model cannot be loaded.
            PoolClosed: the pool is closed.
        """
        self._core.check_process()
        self._core.start()

    def submit(self, request: Chat | Raw | Embed) -> Call[Any]:
        """See `Calls.submit`."""
        checked = normalize(request)
        if self._model is not None:
            self._model.check(checked)
        ticket = self._core.ticket(checked)
        try:
            self._core.submit(ticket)
            return Call(ticket, self._core, self)
        except PoolinferError:
            raise
        except BaseException:
            # Ctrl-C: the call may have been accepted, and nobody will have it.
            self._core.cancel(ticket)
            raise

    def stats(self) -> PoolStats:
        """A snapshot of what the pool does and has done.

        Raises:
            ForkedPool: this process was forked from the pool's owner.
        """
        return self._core.stats()

    def close(self, grace: float = 30.0) -> None:
        """Take no more calls, let accepted ones end, cancel what is left after `grace` seconds, free everything.

        Idempotent; a second caller waits for the first. The end of a ``with`` block calls it, with no grace
        when an exception ends the block. In a forked child it does nothing.
        """
        check_option("grace", grace)
        self._core.close(grace)

    async def aclose(self, grace: float = 30.0) -> None:
        """`close` for async code: waits in a helper thread, and never blocks the event loop."""
        check_option("grace", grace)
        limiter = anyio.CapacityLimiter(1)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._core.close, grace, limiter=limiter)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._core.close(0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(0.0 if kind is not None else 30.0)

    async def __aenter__(self) -> Self:
        try:
            await anyio.to_thread.run_sync(
                self.start, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True
            )
        except BaseException:
            await self.aclose(0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(0.0 if kind is not None else 30.0)

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and core.is_running:
            core.abandon()
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Pool belongs to its process and cannot be pickled or copied; make one where it is used"
        )

    def __repr__(self) -> str:
        what = repr(self._model.name) if self._model is not None else type(self._own_executor).__name__
        return f"<Pool {what} {self._core.describe()}>"

    def _repr_html_(self) -> str:
        return self.stats()._repr_html_()


def _as_model(model: Model | str | os.PathLike[str] | None, executor: str | Executor) -> Model:
    if executor not in ("thread", "process"):
        raise InvalidRequest(
            f"executor: {executor!r} is not known; use 'thread', 'process' or an object with the Executor protocol",
            field="executor",
        )
    if model is None:
        raise InvalidRequest("model: give a Model or the path of a GGUF file", field="model")
    return model if isinstance(model, Model) else Model.load(model)


def _process_options(share: str, retries: int, max_calls: int | None, max_rss: int | None) -> dict[str, Any]:
    if share not in ("mmap", "repack"):
        raise InvalidRequest(f"share: {share!r} is not known; use 'mmap' or 'repack'", field="share")
    options = {"retries": retries, "max_calls": max_calls, "max_rss": max_rss}
    for name, value in options.items():
        number(name, value)
    return {"share": share, **options}


def _default_slots(model: Model, n_ctx: int, workers: int) -> int:
    memory = available_memory()
    each = max(1, model.kv_bytes_per_token * n_ctx * workers)
    return _SLOTS if memory is None else max(1, min(_SLOTS, int(memory * _MEMORY_SHARE) // each))


def _default_threads(model: Model, workers: int) -> int:
    useful = 1 + model.size // _BYTES_PER_THREAD
    return max(1, min(cores() // workers, useful))


def _load(spec: ModelSpec, lane: LaneSpec, cancelled: Any) -> Any:
    from ._engine.llama import load

    return load(spec, lane, cancelled)
