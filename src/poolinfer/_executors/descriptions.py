"""The executors that come with poolinfer, described: `Thread`, `Process` and `Prefork`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from .._checks.limits import number
from .._checks.refusals import refuse
from .._data.errors import InvalidRequest, ModelError
from .._data.option_names import options_of_class
from .._data.specs import LaneSpec, ModelSpec
from .._system.environment import patched_by
from .executor_protocol import Description, Executor

if TYPE_CHECKING:
    from .._engine.engine_protocol import Engine

#: Whether worker processes share all weights in the mapped file, or copy part of them into a faster layout.
Share: TypeAlias = Literal["mmap", "repack"]

_IDLE_TIMEOUT = 60.0
_TASKS = "/proc/self/task"
_TURN_SECONDS = 0.0001
_REPACKED = "weights repacked"
_AS_IN_FILE = "weights as in the file"


@options_of_class
@dataclass(frozen=True, slots=True, kw_only=True)
class Thread(Description):
    """Lanes in threads of this process, over one copy of the weights. A crash in native code ends this process.

    ``Pool(model, executor=Thread(workers=2))``

    Attributes:
        workers: lanes.

    Raises:
        InvalidRequest: an option is out of bounds.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        number("workers", self.workers)

    @property
    def most(self) -> int:
        """Lanes."""
        return self.workers

    @property
    def note(self) -> str:
        """What the weights are, for the log."""
        # The lanes of one process share the copy.
        return _REPACKED

    def make(self, model: ModelSpec, lane: LaneSpec) -> Executor:
        """The executor; see `Description.make`."""
        from .thread import ThreadExecutor

        return ThreadExecutor(
            lambda cancelled: _load(model, lane, cancelled),
            workers=self.workers,
            lane=lane,
            # Patched threads take turns, and a lane that computes would never give its own away. Sleeping for
            # no time at all lets only those run that are ready, before anything that waits for a socket.
            flush=(lambda: time.sleep(_TURN_SECONDS)) if patched_by() else (lambda: None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcesses(Description):
    """Options of every description whose lanes run in worker processes; `Process` and `Prefork` explain them."""

    workers: int | None = None
    min_workers: int | None = None
    max_workers: int | None = None
    idle_timeout: float | None = None
    share: Share = "mmap"
    retries: int = 1
    max_calls: int | None = None
    max_rss: int | None = None
    max_age: float | None = None

    #: Whether workers are forked by a process that has loaded the weights.
    forks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        # Not the fields of a class that derives from this one: LIMITS may have another row of that name, or none.
        for field in fields(WorkerProcesses):
            value = getattr(self, field.name)
            if field.name != "share" and (value is not None or field.default is not None):
                number(field.name, value)
        if self.share not in ("mmap", "repack"):
            refuse("share", self.share, "use 'mmap' or 'repack'")
        if self.idle_timeout is not None and self.max_workers is None:
            remedy = "leave it out, a fixed number of workers never ends; or give max_workers"
            refuse("idle_timeout", self.idle_timeout, remedy)
        self._check_sizes()

    def _check_sizes(self) -> None:
        if self.min_workers is None and self.max_workers is None:
            return
        if self.workers is not None:
            raise InvalidRequest(
                "workers: give either workers, or min_workers and max_workers", field="workers"
            )
        if self.least > self.most:
            raise InvalidRequest(
                f"min_workers: {self.least} is more than max_workers, which is {self.most}",
                field="min_workers",
            )

    @property
    def least(self) -> int:
        """Workers that are always there."""
        return self.workers or self.min_workers or (1 if self.max_workers else self.most)

    @property
    def most(self) -> int:
        """Most workers at a time."""
        return self.workers or self.max_workers or self.min_workers or 1

    @property
    def note(self) -> str:
        """What the weights are, for the log."""
        return _REPACKED if self.share == "repack" else _AS_IN_FILE

    def check(self, model: ModelSpec | None) -> None:
        """Refuse a pool without a model, and a host that cannot have worker processes.

        Raises:
            InvalidRequest: there is no model.
            ModelError: this is Windows, or gevent or eventlet has patched the standard library.
        """
        Description.check(self, model)
        library = patched_by()
        if library:
            raise ModelError(
                f"executor={self.name!r} does not work in a process whose standard library {library} has patched;"
                " use executor='thread', or run this part of the application without the patches"
            )

    def make(self, model: ModelSpec, lane: LaneSpec) -> Executor:
        """The executor; see `Description.make`."""
        from .process import ProcessExecutor
        from .sizing import Sizing

        return ProcessExecutor(
            model,
            lane,
            sizing=Sizing(
                least=self.least,
                most=self.most,
                idle_timeout=_IDLE_TIMEOUT if self.idle_timeout is None else self.idle_timeout,
                max_calls=self.max_calls,
                max_rss=self.max_rss,
                max_age=self.max_age,
            ),
            prefork=self.forks,
            share=self.share,
            retries=self.retries,
        )


@options_of_class
@dataclass(frozen=True, slots=True, kw_only=True)
class Process(WorkerProcesses):
    """Lanes in worker processes, one lane each: a crash in native code costs the calls of one worker.

    ``Pool(model, executor=Process(min_workers=1, max_workers=4, idle_timeout=30))``

    Attributes:
        workers: worker processes; None for 1, or for a number that follows the load, between the next two.
        min_workers: worker processes that are always there; None for 1.
        max_workers: worker processes while calls wait for room; None for a fixed number.
        idle_timeout: seconds without work after which a worker process beyond `min_workers` ends; None for 60.
            Only with `max_workers`.
        share: ``"mmap"`` keeps all weights in the mapped file, which worker processes share. ``"repack"`` lets
            each of them copy part of the weights into a layout made for the processor, in memory of its own.
        retries: how often a call is run again if its worker dies before anything of the call was seen; 0 or 1.
        max_calls: calls after which a worker process is replaced; None for no bound.
        max_rss: bytes of memory above which a worker process is replaced between calls; None for no bound.
        max_age: seconds after which a worker process is replaced between calls; None for no bound.

    Raises:
        InvalidRequest: an option is out of bounds, or means nothing beside another one.
    """

    def check(self, model: ModelSpec | None) -> None:
        """Refuse a pool without a model, and a host that cannot have worker processes.

        Raises:
            InvalidRequest: there is no model.
            ModelError: this is Windows, or gevent or eventlet has patched the standard library.
        """
        if sys.platform == "win32":
            raise ModelError("executor='process' does not work on Windows yet; use 'thread'")
        WorkerProcesses.check(self, model)


@options_of_class
@dataclass(frozen=True, slots=True, kw_only=True)
class Prefork(WorkerProcesses):
    """Lanes in worker processes that are forked by a process which has loaded the weights once. Linux, no GPU.

    Workers share all weights, repacked ones too, and start within milliseconds.

    ``Pool(model, executor=Prefork(workers=4))``

    Attributes:
        workers: worker processes; None for 1, or for a number that follows the load, between the next two.
        min_workers: worker processes that are always there; None for 1.
        max_workers: worker processes while calls wait for room; None for a fixed number.
        idle_timeout: seconds without work after which a worker process beyond `min_workers` ends; None for 60.
            Only with `max_workers`.
        share: ``"repack"`` copies part of the weights into a layout made for the processor, once for all worker
            processes. ``"mmap"`` keeps all weights in the mapped file.
        retries: how often a call is run again if its worker dies before anything of the call was seen; 0 or 1.
        max_calls: calls after which a worker process is replaced; None for no bound.
        max_rss: bytes of memory above which a worker process is replaced between calls; None for no bound.
        max_age: seconds after which a worker process is replaced between calls; None for no bound.

    Raises:
        InvalidRequest: an option is out of bounds, or means nothing beside another one.
    """

    share: Share = "repack"

    forks: ClassVar[bool] = True

    def check(self, model: ModelSpec | None) -> None:
        """Refuse a pool without a model, a model on a GPU, and a host that cannot be forked from.

        Raises:
            InvalidRequest: there is no model.
            ModelError: this is not Linux, or `/proc` is missing. Or gevent or eventlet has patched the standard
                library. Or the model is to use a GPU, whose state does not survive a fork.
        """
        WorkerProcesses.check(self, model)
        if sys.platform != "linux":
            raise ModelError(
                f"executor='prefork' needs Linux, and this is {sys.platform}: its system libraries do not survive a"
                " fork; use 'thread'" + ("" if sys.platform == "win32" else " or 'process'")
            )
        if not Path(_TASKS).is_dir():
            raise ModelError(
                f"executor='prefork' needs {_TASKS}, to see that no thread is lost in a fork, and it is not there:"
                " mount /proc, or use 'process'"
            )
        if model is not None and model.n_gpu_layers:
            raise ModelError(
                f"executor='prefork' cannot run a model with n_gpu_layers={model.n_gpu_layers}: the state of a GPU"
                " does not survive a fork; use 'process'"
            )


def _load(spec: ModelSpec, lane: LaneSpec, cancelled: Callable[[], bool]) -> Engine:
    from .._engine.llama.library import load

    return load(spec, lane, cancelled, try_first=True)
