"""`Pool`: many concurrent calls on one model, from threads, asyncio and trio alike.

    host code ──> Pool (policy) ──> Executor (where) ──> Lane (one llama context) ──> slots (one call each)

This file is what hosts see of a pool; `poolinfer._pool.lifecycle` does the work.
"""

from __future__ import annotations

import warnings
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, cast

import anyio
import anyio.to_thread
from typing_extensions import Self

from .._checks.limits import check_option
from .._checks.normalize import normalize_at_once
from .._data.errors import InvalidRequest, PoolinferError
from .._data.kv_types import KVType
from .._data.option_names import options_of
from .._data.requests import Request, answer_type
from .._data.specs import ModelSpec
from .._data.stats import PoolStats
from .._executors.descriptions import Share
from .._executors.executor_protocol import Description, Executor
from .._executors.registry import ExecutorName
from .call import Call
from .call_methods import CallMethods
from .lane_sizing import lane_spec
from .lifecycle import MakeExecutor, PoolLifecycle
from .model_info import ModelInfo, ModelSource, model_info_of
from .pool_log import describe
from .pool_options import check_lane, choose_executor, plain_lane, refuse_options
from .request_checker import finish_check
from .wakers import runs_event_loop, warn_in_event_loop

_SLOTS = 16


class Pool(CallMethods):
    """Runs calls on a model: `workers` lanes, each decoding up to `slots` calls together.

    One class for sync and async code. A pool starts by itself at the first call, and loads the model in the
    background. Entered as a context manager, it starts at once and waits until the model is loaded.

    Args:
        model: a `Model`, its `ModelInfo`, or the path of a GGUF file. May be None with an executor that needs none;
            if given, requests are checked against it.
        executor: where lanes run. ``"thread"``: in this process. ``"process"``: in worker processes of one lane
            each, so that a native crash costs one worker's calls. ``"prefork"``: in worker processes that a process
            forks which has loaded the weights once (Linux, no GPU). Other packages may offer more names. A
            description from `poolinfer.executor`, such as ``Process(workers=2)``, carries the options of its
            executor. An object with the `Executor` protocol has all it needs: of the options below, only
            `max_queue` goes with it.
        workers: lanes; None for 1.
        min_workers: worker processes that are always there, where their number follows the load; None for 1.
        max_workers: worker processes while calls wait for room; None for a fixed number.
        slots: calls decoded together in a lane; None for 16. With ``slots=1`` a result depends on nothing but
            the request, the model, these options and the machine, to the last bit.
        threads: threads that compute, for each lane. None for the cores that this process may use, divided by the
            number of lanes; for a small model fewer, where more threads would cost more than they save.
        n_ctx: tokens that one call may use, prompt and output together; None for the model's `n_ctx`. More than
            the model was trained for gives a warning, and is refused where the model has learned a fixed number of
            positions.
        n_batch: most prompt tokens of one engine step. With ``slots=1`` each step of a prompt but its last has
            exactly so many. None for 512, or 128 with ``slots=1`` on a CPU.
        kv_memory: bytes that the context of a lane may take. It grows as calls need it; when they need more, the
            youngest wait until others have ended. None for as much as `slots` calls of `n_ctx` tokens need, but at
            most a quarter of the free memory, divided by the number of lanes.
        flash_attention: whether llama.cpp computes attention in one fused operation. That makes prompts faster. On
            a CPU it makes decoding slower, the more the longer the context is, and results less precise, above all
            those of mixtures of experts (see Concepts). None leaves it to llama.cpp on a GPU; on a CPU it is used
            for dense models with several slots of at most 512 tokens (`n_ctx`).
        type_k: the type of number that a context holds keys in; None for ``"f16"``. ``"q8_0"`` takes about half the
            memory, ``"q4_0"`` about a quarter, at a loss of precision.
        type_v: the same for values. A quantised type needs fused attention, so `flash_attention` is True then.
        max_queue: most calls that may wait; one more raises `PoolFull` at once.
        latency_target: seconds that an engine step may take while somebody is decoding, or four times as long as
            a step without prompts, whichever is longer. Where several prompts wait, steps may be longer. This
            bounds how much of a long prompt is computed in one go, and how late a cancel can be. Means nothing with
            ``slots=1``: nobody shares a step there, and a cancel stops it half way.
        prefix_cache: whether a prompt reuses what it has in common with earlier ones of its lane and `cache_key`;
            None for yes if there are several slots. With ``slots=1`` only what gives the very same result is
            reused: multiples of `n_batch` tokens of prompts, and no answers. Models with recurrent layers or
            sliding windows never reuse anything.
        idle_timeout: seconds without work after which a worker process beyond `min_workers` ends; None for 60. Only
            with `max_workers`. Threads take neither this option nor the next five. All six, and `workers`,
            `min_workers` and `max_workers`, go with a name; a description has them as its own options.
        share: where worker processes have the weights. ``"mmap"``: in the mapped file, which they share.
            ``"repack"``: part of the weights is copied into a layout made for the processor. Workers of `prefork`
            share the copy; each worker of `process` has its own. None for the one that costs no memory:
            ``"mmap"`` with `process`, ``"repack"`` with `prefork`.
        retries: how often a call is run again if its worker dies before anything of the call was seen; None for 1.
        max_calls: calls after which a worker process is replaced; None for no bound, as for the next two.
        max_rss: bytes of memory above which a worker process is replaced between calls.
        max_age: seconds after which a worker process is replaced between calls.

    Raises:
        InvalidRequest: an option is out of bounds, means nothing with the executor, or says how an executor object
            is to run. Also if there is no executor of that name, or no model and the executor needs one.
        ModelError: `model` is a path and the file cannot be used, or this system has no such executor.
    """

    @options_of("Pool")
    def __init__(
        self,
        model: ModelSource | None = None,
        *,
        executor: ExecutorName | str | Description | Executor = "thread",
        workers: int | None = None,
        min_workers: int | None = None,
        max_workers: int | None = None,
        slots: int | None = None,
        threads: int | None = None,
        n_ctx: int | None = None,
        n_batch: int | None = None,
        kv_memory: int | None = None,
        flash_attention: bool | None = None,
        type_k: KVType | None = None,
        type_v: KVType | None = None,
        max_queue: int = 1000,
        latency_target: float = 0.25,
        prefix_cache: bool | None = None,
        idle_timeout: float | None = None,
        share: Share | None = None,
        retries: int | None = None,
        max_calls: int | None = None,
        max_rss: int | None = None,
        max_age: float | None = None,
    ) -> None:
        where: dict[str, Any] = {"workers": workers, "min_workers": min_workers, "max_workers": max_workers}
        where |= {"idle_timeout": idle_timeout, "share": share, "retries": retries}
        where |= {"max_calls": max_calls, "max_rss": max_rss, "max_age": max_age}
        how: dict[str, Any] = {"slots": slots, "threads": threads, "n_ctx": n_ctx, "n_batch": n_batch}
        how |= {
            "kv_memory": kv_memory,
            "flash_attention": flash_attention,
            "type_k": type_k,
            "type_v": type_v,
        }
        how |= {"latency_target": latency_target, "prefix_cache": prefix_cache}
        check_option("max_queue", max_queue)
        self._max_queue = max_queue
        if isinstance(executor, str | Description):
            check_lane(how)
        chosen = choose_executor(executor, where)
        if not isinstance(chosen, Description):
            refuse_options({**where, **how}, Pool)
        self._model = None if model is None else model_info_of(model)
        if isinstance(chosen, Description):
            self._executor = chosen.name
            make, title = _executor_maker(chosen, self._model, how)
            self._lifecycle = PoolLifecycle(make, max_queue, title=title)
        else:
            self._executor = type(chosen).__name__
            self._lifecycle = PoolLifecycle(lambda: chosen, max_queue, title=self._executor)

    @property
    def model(self) -> ModelInfo:
        """The pool's model, as plain data.

        Raises:
            InvalidRequest: the pool was made without a model.
        """
        if self._model is None:
            raise InvalidRequest("model: this pool was made of an executor, without a model", field="model")
        return self._model

    @property
    def max_queue(self) -> int:
        """Most calls that may wait."""
        return self._max_queue

    def start(self) -> None:
        """Load the model now and wait until it is loaded. The first call does the same in the background.

        Raises:
            ModelError: the model cannot be loaded.
            PoolClosed: the pool is closed.
        """
        self._lifecycle.check_process()
        if not self._lifecycle.is_settled:
            warn_in_event_loop("`async with`")
        self._lifecycle.start()

    def _submit(self, request: Request) -> Call[Any]:
        """See `CallMethods.submit`."""
        checked, whole = normalize_at_once(request)
        check = partial(finish_check, checked, whole, self._model)
        later = not whole and runs_event_loop()
        ticket = self._lifecycle.ticket(checked if later else check())
        ticket.answer_type = answer_type(request)
        ticket.check = check if later else None
        try:
            self._lifecycle.submit(ticket)
            return Call(ticket, self._lifecycle, self)
        except PoolinferError:
            raise
        except BaseException:
            # After Ctrl-C the call may have been accepted, but nobody will hold it.
            self._lifecycle.cancel(ticket)
            raise

    def _slots(self) -> int:
        return self._lifecycle.slots

    def stats(self) -> PoolStats:
        """A snapshot of what the pool does and has done.

        Raises:
            ForkedPool: this process was forked from the pool's owner.
        """
        return self._lifecycle.stats()

    def close(self, grace: float = 30.0) -> None:
        """Take no more calls, let accepted ones end, cancel those left after `grace` seconds, free everything.

        Idempotent; a second caller waits for the first. The end of a ``with`` block calls it, without grace if an
        exception ends the block. Does nothing in a forked child.
        """
        check_option("grace", grace)
        self._close(grace, "`await aclose()`")

    def _close(self, grace: float, instead: str) -> None:
        try:
            if self._lifecycle.is_running:
                warn_in_event_loop(instead)
        finally:
            self._lifecycle.close(grace)

    async def aclose(self, grace: float = 30.0) -> None:
        """`close` for async code: waits in another thread, and does not block the event loop."""
        check_option("grace", grace)
        limiter = anyio.CapacityLimiter(1)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._lifecycle.close, grace, limiter=limiter)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._lifecycle.close(0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(0.0 if kind is not None else 30.0, "`async with`")

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
        lifecycle = getattr(self, "_lifecycle", None)
        if lifecycle is not None and lifecycle.is_running:
            lifecycle.abandon()
            # Not the repr, which asks the executor: this may run on a thread that holds the executor's lock.
            what = f"<Pool {self._name} {lifecycle.state}>"
            warnings.warn(f"{what} was never closed", ResourceWarning, source=self, stacklevel=2)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Pool belongs to its process and cannot be pickled or copied; make one where it is used"
        )

    def __repr__(self) -> str:
        return f"<Pool {self._name} {self._lifecycle.describe()}>"

    @property
    def _name(self) -> str:
        return self._executor if self._model is None else repr(self._model.name)

    def _repr_html_(self) -> str:
        return self.stats()._repr_html_()


def _executor_maker(
    description: Description, model: ModelInfo | None, options: dict[str, Any]
) -> tuple[MakeExecutor, str]:
    """What makes the executor that a description describes, and what the log says of the pool.

    Args:
        description: where lanes run.
        model: the pool's model, or None.
        options: those of the pool that say how lanes run.

    Raises:
        InvalidRequest: an option does not suit the model, or there is no model, and the executor needs one.
        ModelError: the model does not run on such an executor, or this system has no such executor.
    """
    description.check(None if model is None else model.spec)
    slots, n_ctx = options["slots"] or _SLOTS, options["n_ctx"]
    if model is None:
        # The description's own check let a pool without a model pass, so it makes its executor without one.
        spec, lane = cast("ModelSpec", None), plain_lane(slots, options)
    else:
        if n_ctx is not None:
            model.check_n_ctx(n_ctx)
        elif not model.n_ctx or model.n_ctx != model.n_ctx_train:
            # A model may be trained for fewer tokens than the bound; all else comes from a caller.
            check_option("n_ctx", model.n_ctx)
        lane = lane_spec(
            model, description.most, **{**options, "slots": slots, "n_ctx": n_ctx or model.n_ctx}
        )
        spec = model.spec
    title = describe(None if model is None else model.name, description, lane)
    return partial(description.make, spec, lane), title
