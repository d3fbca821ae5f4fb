"""What lanes, executors and pools do and have done, as numbers.

Sums, the wire, reprs and tables read the fields of these classes. So a new counter is a field here, and the line of
code that counts. The field stands in the class of who counts (`LaneCounters`, `SeatingCounts` or `CallCounts`), and
in each class that shows it (`ExecutorStats`, `PoolStats`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from html import escape
from typing import Any


@dataclass(slots=True)
class LaneCounters:
    """What a lane has done so far; written by its thread, read by any.

    An executor adds these counters up (`summed`). Each field is one of `ExecutorStats`, too, and explained there.
    """

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    preempted: int = 0
    step_seconds: float = 0.0


@dataclass(slots=True)
class SeatingCounts:
    """What an executor counts of its workers. Each field is one of `ExecutorStats`, too, and explained there."""

    crashed: int = 0
    recycled: int = 0


@dataclass(slots=True)
class CallCounts:
    """How many calls and tokens a pool has had. Each field is one of `PoolStats`, too, and explained there."""

    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    rejected: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


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
        step_seconds: seconds spent in engine steps so far, added up over the lanes.
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


_OF_LANES = tuple(item.name for item in fields(LaneCounters))


def summed(parts: Iterable[LaneCounters | ExecutorStats]) -> dict[str, Any]:
    """The fields of `LaneCounters`, added up over several lanes or several executors.

    Returns:
        fields of `ExecutorStats` by name.
    """
    found = list(parts)
    return {name: sum(getattr(part, name) for part in found) for name in _OF_LANES}


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles, in seconds, of the last 1 024 calls; None before the first."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    def __str__(self) -> str:
        if self.p50 is None or self.p95 is None:
            return "-"
        return f"p50 {self.p50 * 1000:.0f} ms, p95 {self.p95 * 1000:.0f} ms"


def quantiles(samples: Collection[float]) -> Quantiles:
    """The quantiles of some samples."""
    if not samples:
        return Quantiles()
    ranked = sorted(samples)
    return Quantiles(*(ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in (0.5, 0.95, 0.99)))


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A snapshot of a pool.

    Attributes:
        state: ``"new"``, ``"starting"``, ``"running"``, ``"closing"``, ``"closed"`` or ``"broken"``.
        workers: lanes that work.
        slots: calls that can run at once.
        busy: slots taken.
        running: calls that have a slot and have not ended.
        waiting: calls in the queue.
        stopping: slots whose call has ended for its owner while the engine still works on it.
        oldest_wait: seconds that the longest-waiting call has waited.
        accepted: calls accepted so far.
        succeeded: accepted calls that ended well.
        failed: accepted calls that ended with an error, but for cancelled and expired ones.
        cancelled: accepted calls that were cancelled.
        expired: accepted calls that passed their deadline.
        rejected: calls refused with `PoolFull`.
        prompt_tokens: prompt tokens of calls that succeeded; those of embeddings are not counted.
        cached_tokens: of these prompt tokens, how many were reused and not computed.
        completion_tokens: tokens generated by calls that succeeded.
        crashed: worker processes that died, or were killed because they were stuck.
        recycled: worker processes that were replaced for their age, their size, or the calls that they had served.
        preempted: how often a running call gave its memory up to older ones (`kv_memory`), to go on later.
        memory: bytes that each worker process costs (PSS on Linux: memory that n processes share counts one n-th);
            empty without worker processes.
        tokens_per_second: tokens generated by calls that ended in the last 30 s, per second.
        ttft: time to first token, from submission.
        latency: time to the end, from submission.
    """

    state: str = "new"
    workers: int = 0
    slots: int = 0
    busy: int = 0
    running: int = 0
    waiting: int = 0
    stopping: int = 0
    oldest_wait: float = 0.0
    accepted: int = 0
    succeeded: int = 0
    # The text shows these with their word, where they are not 0.
    failed: int = field(default=0, metadata={"word": "failed"})
    cancelled: int = field(default=0, metadata={"word": "cancelled"})
    expired: int = field(default=0, metadata={"word": "expired"})
    rejected: int = field(default=0, metadata={"word": "refused"})
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    crashed: int = 0
    recycled: int = 0
    preempted: int = 0
    memory: tuple[int, ...] = ()
    tokens_per_second: float = 0.0
    ttft: Quantiles = field(default_factory=Quantiles)
    latency: Quantiles = field(default_factory=Quantiles)

    def __str__(self) -> str:
        worded = ((item.metadata.get("word"), getattr(self, item.name)) for item in fields(self))
        others = "".join(f" {count} {word}," for word, count in worded if word and count)
        return (
            f"{self.state}: {self.succeeded}/{self.accepted} calls done,{others} {self.running} running,"
            f" {self.waiting} waiting, {self.busy}/{self.slots} slots busy,"
            f" {self.completion_tokens} tokens at {self.tokens_per_second:.0f}/s,"
            f" TTFT {self.ttft}, latency {self.latency}"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(item.name)}</th><td>{escape(str(getattr(self, item.name)))}</td></tr>"
            for item in fields(self)
        )
        return f"<table>{rows}</table>"
