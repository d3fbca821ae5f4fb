"""Snapshots of what an executor does and has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExecutorStats:
    """A snapshot of an executor.

    Attributes:
        workers: lanes that work.
        slots: calls that can run at once, over all lanes.
        busy: slots taken, stopping ones included.
        steps: engine steps so far.
        prompt_tokens: prompt tokens computed so far.
        cached_tokens: prompt tokens so far that were reused and not computed.
        completion_tokens: tokens generated so far.
        preempted: how often a call gave its memory up to older ones, to go on later.
        step_seconds: time spent in engine steps so far.
        crashed: workers that died, or were killed because they were stuck.
        recycled: workers that were replaced for their age, their size, or the calls that they had served.
        memory: bytes that each worker process costs (PSS: memory that n processes share counts one n-th); empty
            where there are none, or the system does not say. Looked at every few seconds.
        broken: whether workers kept dying, so that none will come any more.
    """

    workers: int = 0
    slots: int = 0
    busy: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    preempted: int = 0
    step_seconds: float = 0.0
    crashed: int = 0
    recycled: int = 0
    memory: tuple[int, ...] = ()
    broken: bool = False
