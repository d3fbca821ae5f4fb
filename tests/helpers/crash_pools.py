"""Pools of worker processes whose engine fails as a prompt says (see `poolinfer.testing._crash`)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from poolinfer import Pool
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._executors.process import ProcessExecutor
from poolinfer.testing import wait_until
from poolinfer.testing._crash import crash_program

WAIT = 40.0
#: Whether workers are forked where a test does not say; the fixture `both_kinds` runs a test both ways.
PREFORK = False


def make_executor(
    *,
    workers: int | None = None,
    slots: int = 4,
    factory_options: dict[str, Any] | None = None,
    **options: Any,
) -> ProcessExecutor:
    lane = LaneSpec(slots=slots, n_ctx=4096)
    return ProcessExecutor(
        ModelSpec("", (0, 0, 0, 0)),
        lane,
        workers=workers,
        **{"prefork": PREFORK, "program": crash_program(**(factory_options or {})), **options},
    )


@contextmanager
def crash_pool(**options: Any):
    executor = make_executor(**options)
    with Pool(executor=executor) as pool:
        yield pool, executor


def wait_up(executor: ProcessExecutor, workers: int = 1) -> None:
    wait_until(lambda: executor.stats().workers == workers, "the workers are up again", WAIT)
