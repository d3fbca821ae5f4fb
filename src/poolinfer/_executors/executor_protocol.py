"""The seam between a pool, which decides, and an executor, which runs jobs; and how an executor is described."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from .._data.errors import InvalidRequest
from .._data.events import Emit, Job
from .._data.specs import LaneSpec, ModelSpec
from .._data.stats import ExecutorStats


class Executor(Protocol):
    """Runs jobs somewhere, and tells a pool by events how each of them goes.

    The laws, each of them a test in `poolinfer.testing.ExecutorContract`:

    - L1, one ending: every job that was taken yields ``Started? Chunk* (Done | Failed)``, and nothing after that.
    - L2, never from inside: `emit` runs on the executor's own threads, never inside `submit` or `cancel`.
    - L3, never block: `submit`, `cancel` and `stats` return at once. Trouble with a job is an event, no exception.
    - L4, cancel is prompt: the ending comes within one engine step, or one piece of a prompt.
    - L5, blast radius: the death of a worker fails only the jobs of that worker, with `WorkerLost`.
    - L6, room from endings: room is given back before an ending is emitted, and by nothing but an ending.
    - L7, close leaves nothing: no thread, process, descriptor or file. Every job has ended first.
    - L8, not across a fork: in a forked child every method raises `ForkedPool`. The parent goes on.
    - L9, data only: jobs and events survive an encode and decode round trip.
    """

    def start(self, ready: Callable[[], None]) -> None:
        """Get ready to take jobs. May take long (load, spawn); called once, on a thread of the pool.

        Args:
            ready: call it, on a thread of the executor, whenever a refused job may find room that no ending has
                announced: a worker has started, say.

        Raises:
            ModelError: the model cannot be loaded.
            PoolClosed: `close` came first.
        """
        ...

    def submit(self, job: Job, emit: Emit) -> bool:
        """Take a job and return True, or refuse it for want of room and return False.

        Args:
            job: what is to be run. Its request was checked and normalised.
            emit: takes the events of this job. It must not be called once False was returned.
        """
        ...

    def cancel(self, job_id: int) -> None:
        """Ask that a job ends soon, with `CallCancelled`. Idempotent; ids that are not running are ignored."""
        ...

    def stats(self) -> ExecutorStats:
        """A snapshot of the executor."""
        ...

    def close(self, grace: float) -> None:
        """End every job within `grace` seconds and give everything back. Idempotent and thread-safe."""
        ...


class Description(ABC):
    """Says where the lanes of a pool run, and makes the executor for them.

    `poolinfer.Pool` takes one as ``executor=``. Those that come with poolinfer are `Thread`, `Process` and
    `Prefork`. To write one of your own, derive a frozen dataclass that has the options of your executor as its
    fields, and a method `make`. A field called `name`, `least`, `most` or `note` overrides the property of that
    name, and needs a default.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """What messages and logs call the executor; the name of the class in small letters."""
        return type(self).__name__.lower()

    @property
    def least(self) -> int:
        """Lanes that are always there; as many as `most` unless said otherwise."""
        return self.most

    @property
    def most(self) -> int:
        """Most lanes at a time. The pool divides this machine's cores and memory by it; 1 unless said otherwise."""
        return 1

    @property
    def note(self) -> str:
        """What else the pool's log says of the executor when it starts; nothing unless said otherwise."""
        return ""

    def check(self, model: ModelSpec | None) -> None:
        """Refuse what cannot run here. Called by ``Pool(...)``, before anything is started.

        Unless overridden, refuses a pool without a model, and nothing else.

        Args:
            model: the pool's model, or None for a pool that has none.

        Raises:
            InvalidRequest: the executor needs a model, and there is none.
            ModelError: this model does not run on such an executor, or this system has no such executor.
        """
        if model is None:
            raise InvalidRequest("model: give a Model or the path of a GGUF file", field="model")

    @abstractmethod
    def make(self, model: ModelSpec, lane: LaneSpec) -> Executor:
        """Make the executor. Called once for each pool, when that starts. Loading is the work of `Executor.start`.

        Args:
            model: the pool's model. Where `check` lets a pool without a model pass, it may be None.
            lane: how each lane runs the model: the options of the pool, and its choice for those that were not
                given.
        """
