"""Where a pool's lanes run: its options for that, checked, and the executor made of them."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .._checks.limits import number
from .._checks.refusals import refuse
from .._data.errors import InvalidRequest, ModelError
from .._data.specs import LaneSpec, ModelSpec
from .._system.environment import patched_by
from .executor_protocol import Executor

if TYPE_CHECKING:
    from .._engine.engine_protocol import Engine

#: The executors by name.
ExecutorName: TypeAlias = Literal["thread", "process", "prefork"]
#: Whether worker processes share all weights in the mapped file, or copy part of them into a faster layout.
Share: TypeAlias = Literal["mmap", "repack"]

_NAMES = ("thread", "process", "prefork")
_USE_ONE = f"use {', '.join(map(repr, _NAMES))} or an object with the Executor protocol"
_OF_PROCESSES = ("idle_timeout", "share", "retries", "max_calls", "max_rss", "max_age")
_PROTOCOL = ("start", "submit", "cancel", "stats", "close")
_IDLE_TIMEOUT = 60.0
_RETRIES = 1
_TASKS = "/proc/self/task"
_TURN_SECONDS = 0.0001


@dataclass(frozen=True, slots=True)
class Placement:
    """A pool's options about where its lanes run; see `poolinfer.Pool` for their meaning.

    Raises:
        InvalidRequest: an option is out of bounds, or means nothing beside another one.
        ModelError: this system has no such executor.
    """

    name: ExecutorName = "thread"
    workers: int | None = None
    min_workers: int | None = None
    max_workers: int | None = None
    idle_timeout: float | None = None
    share: Share | None = None
    retries: int | None = None
    max_calls: int | None = None
    max_rss: int | None = None
    max_age: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            raise InvalidRequest(f"executor: {self.name!r} is not known; {_USE_ONE}", field="executor")
        for field in ("workers", "min_workers", "max_workers", *_OF_PROCESSES):
            value = getattr(self, field)
            if value is not None and field != "share":
                number(field, value)
        if self.share not in (None, "mmap", "repack"):
            raise InvalidRequest(f"share: {self.share!r} is not known; use 'mmap' or 'repack'", field="share")
        self._check_use()
        self._check_sizes()
        self._check_system()

    def _check_use(self) -> None:
        """Refuse options of worker processes that nothing would read."""
        if self.name == "thread":
            for field in _OF_PROCESSES:
                if getattr(self, field) is not None:
                    remedy = (
                        "leave it out, threads have no use for it; or use executor='process' or 'prefork'"
                    )
                    refuse(field, getattr(self, field), remedy)
        elif self.idle_timeout is not None and self.max_workers is None:
            remedy = "leave it out, a fixed number of workers never ends; or give max_workers"
            refuse("idle_timeout", self.idle_timeout, remedy)

    def _check_sizes(self) -> None:
        if self.min_workers is None and self.max_workers is None:
            return
        if self.name == "thread":
            given = "max_workers" if self.min_workers is None else "min_workers"
            raise InvalidRequest(
                f"{given}: lanes in threads cannot come and go; give workers, or use 'process' or 'prefork'",
                field=given,
            )
        if self.workers is not None:
            raise InvalidRequest(
                "workers: give either workers, or min_workers and max_workers", field="workers"
            )
        if self.least > self.most:
            raise InvalidRequest(
                f"min_workers: {self.least} is more than max_workers, which is {self.most}",
                field="min_workers",
            )

    def _check_system(self) -> None:
        if self.name == "process" and sys.platform == "win32":
            raise ModelError("executor='process' does not work on Windows yet; use 'thread'")
        library = patched_by()
        if self.name != "thread" and library:
            raise ModelError(
                f"executor={self.name!r} does not work in a process whose standard library {library} has patched;"
                " use executor='thread', or run this part of the application without the patches"
            )
        if self.name == "prefork" and sys.platform != "linux":
            raise ModelError(
                f"executor='prefork' needs Linux, and this is {sys.platform}: its system libraries do not survive a"
                " fork; use 'thread'" + ("" if sys.platform == "win32" else " or 'process'")
            )
        if self.name == "prefork" and not Path(_TASKS).is_dir():
            raise ModelError(
                f"executor='prefork' needs {_TASKS}, to see that no thread is lost in a fork, and it is not there:"
                " mount /proc, or use 'process'"
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
    def weights(self) -> Share:
        """Whether lanes use the weights in the mapped file, or copies in a faster layout."""
        # Lanes of one process share the copy, and so do forked workers.
        return self.share or ("mmap" if self.name == "process" else "repack")

    def check(self, spec: ModelSpec) -> None:
        """Refuse a model that cannot run here.

        Raises:
            ModelError: it is to use a GPU, whose state does not survive a fork.
        """
        if self.name == "prefork" and spec.n_gpu_layers:
            raise ModelError(
                f"executor='prefork' cannot run a model with n_gpu_layers={spec.n_gpu_layers}: the state of a GPU"
                " does not survive a fork; use 'process'"
            )

    def make(self, spec: ModelSpec, lane: LaneSpec) -> Executor:
        """The executor."""
        if self.name == "thread":
            from .thread import ThreadExecutor

            return ThreadExecutor(
                lambda cancelled: _load(spec, lane, cancelled),
                workers=self.most,
                lane=lane,
                # Patched threads take turns, and a lane that computes would never give its own away. Sleeping for
                # no time at all lets only those run that are ready, before anything that waits for a socket.
                flush=(lambda: time.sleep(_TURN_SECONDS)) if patched_by() else (lambda: None),
            )
        from .process import ProcessExecutor
        from .sizing import Sizing

        return ProcessExecutor(
            spec,
            lane,
            sizing=Sizing(
                least=self.least,
                most=self.most,
                idle_timeout=_IDLE_TIMEOUT if self.idle_timeout is None else self.idle_timeout,
                max_calls=self.max_calls,
                max_rss=self.max_rss,
                max_age=self.max_age,
            ),
            prefork=self.name == "prefork",
            share=self.weights,
            retries=_RETRIES if self.retries is None else self.retries,
        )


def check_lane(options: Mapping[str, Any]) -> None:
    """Refuse options of a lane that are out of bounds; None is for what the pool chooses, where it does."""
    for name, value in options.items():
        if value is None and name != "latency_target":
            continue
        if name in ("prefix_cache", "flash_attention"):
            if not isinstance(value, bool):
                refuse(name, value, "use True or False, or None for poolinfer's choice")
        else:
            number(name, value)


def check_executor(value: object) -> None:
    """Refuse what is neither the name of an executor nor an executor."""
    if not isinstance(value, str) and not all(hasattr(value, name) for name in _PROTOCOL):
        refuse("executor", value, _USE_ONE)


def refuse_options(given: Mapping[str, object], cls: type) -> None:
    """Refuse options that would mean nothing to an executor object: those that are not the class's defaults."""
    parameters = inspect.signature(cls).parameters
    for name, value in given.items():
        if value != parameters[name].default:
            refuse(name, value, "leave it out, an executor object has its own options; or name an executor")


def _load(spec: ModelSpec, lane: LaneSpec, cancelled: Callable[[], bool]) -> Engine:
    from .._engine.llama.library import load

    return load(spec, lane, cancelled, try_first=True)
