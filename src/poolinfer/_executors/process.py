"""The process executor: lanes in supervised child processes, so that a native crash costs one worker.

submit ──> Seating ──> Supervisor ──frames──> a worker's lane ──frames──> Supervisor ──> Seating ──> emit
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from .._data.specs import LaneSpec, ModelSpec
from .._system.logs import wanted_levels
from .._wire.frames import Boot
from .seating import Seating
from .sizing import Sizing
from .workers.patience import Patience
from .workers.spawner import ExecSpawner, Spawner, WorkerProgram
from .workers.supervisor import Supervisor
from .workers.zygote import ZygoteSpawner


class ProcessExecutor(Seating):
    """Runs jobs on lanes in child processes (`poolinfer.executor.Executor`).

    Args:
        spec: the model.
        lane: how each worker runs it.
        workers: processes, of one lane each; None for what `sizing` says.
        share: ``"mmap"`` keeps all weights in the mapped file, which workers share. With ``"repack"`` each worker
            copies part of them into a layout made for the processor, in memory of its own.
        retries: how often a call is run again after the death of its worker, if nothing of it was seen.
        sizing: how many workers there are to be, and how long each is to live.
        prefork: whether they are forked by a zygote that has loaded the weights, instead of started by exec.
        cancel_grace: seconds (or two latency targets) that a worker may ignore a cancel before it is killed.
        patience: all other times.
        program: what the processes run.
        spawner: starts worker processes; None for interpreters, or a zygote if `prefork`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        lane: LaneSpec,
        *,
        workers: int | None = None,
        share: Literal["mmap", "repack"] = "mmap",
        retries: int = 1,
        sizing: Sizing = Sizing(),  # noqa: B008 - frozen
        prefork: bool = False,
        cancel_grace: float = 15.0,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        program: WorkerProgram = WorkerProgram(),  # noqa: B008 - frozen
        spawner: Spawner | None = None,
    ) -> None:
        sizing = sizing if workers is None else replace(sizing, least=workers, most=workers)
        boot = Boot(program.factory, replace(spec, repack=share == "repack"), lane, program.factory_options)
        if spawner is None:
            main = program.zygote_main
            spawner = ZygoteSpawner(main, boot) if prefork else ExecSpawner(program.worker_main)
        self._spawner = spawner
        self._supervisor = Supervisor(spawner, lambda: replace(boot, levels=wanted_levels()), patience)
        super().__init__(
            self._supervisor,
            slots=lane.slots,
            sizing=sizing,
            retries=retries,
            cancel_grace=max(cancel_grace, 2 * lane.latency_target),
            routes=lane.prefix_cache and sizing.most > 1,
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, booting ones included."""
        return self._supervisor.pids

    @property
    def zygote(self) -> int | None:
        """Process id of the zygote, while there is one."""
        return self._spawner.pid if isinstance(self._spawner, ZygoteSpawner) else None
