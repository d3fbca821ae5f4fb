"""Counts what happens to the calls of a pool, and makes a `PoolStats` of the counts."""

from __future__ import annotations

from collections import deque
from dataclasses import fields
from typing import Any

from .._data.errors import CallCancelled, DeadlineExceeded, PoolinferError
from .._data.results import Response
from .._data.stats import CallCounts, ExecutorStats, PoolStats, quantiles
from .outcomes import Outcome

_SAMPLES = 1024
_RATE_SECONDS = 30.0


_COUNTED = {item.name for item in fields(CallCounts)}
# What a pool does not count itself, and its executor says in a field of the same name.
_OF_EXECUTOR = {item.name for item in fields(PoolStats)} & {
    item.name for item in fields(ExecutorStats)
} - _COUNTED


class Counters(CallCounts):
    """Counts what happens to calls; its owner holds the lock, which a signal handler that reads may enter again."""

    def __init__(self) -> None:
        super().__init__()
        self._ttft: deque[float] = deque(maxlen=_SAMPLES)
        self._latency: deque[float] = deque(maxlen=_SAMPLES)
        self._tokens: deque[tuple[float, int]] = deque(maxlen=16 * _SAMPLES)
        self._began: float | None = None

    def accept(self, now: float) -> None:
        """A call was accepted."""
        self.accepted += 1
        if self._began is None:
            self._began = now

    def end(self, outcome: Outcome, total: float, now: float) -> None:
        """A call ended, so many seconds after it was accepted."""
        if isinstance(outcome, PoolinferError):
            self.fail(outcome)
        else:
            self.succeed(outcome if isinstance(outcome, Response) else None, total, now)

    def succeed(self, response: Response | None, total: float, now: float) -> None:
        """A call ended well."""
        self.succeeded += 1
        self._latency.append(total)
        if response is not None:
            self._ttft.append(response.timings.ttft)
            self.prompt_tokens += response.usage.prompt_tokens
            self.cached_tokens += response.usage.cached_tokens
            self.completion_tokens += response.usage.completion_tokens
            self._tokens.append((now, response.usage.completion_tokens))
            while self._tokens[0][0] < now - _RATE_SECONDS:
                self._tokens.popleft()

    def fail(self, error: PoolinferError) -> None:
        """A call ended badly."""
        if isinstance(error, CallCancelled):
            self.cancelled += 1
        elif isinstance(error, DeadlineExceeded):
            self.expired += 1
        else:
            self.failed += 1

    def mean_latency(self) -> float:
        """Mean seconds of the last calls; 1 before the first."""
        return sum(self._latency) / len(self._latency) if self._latency else 1.0

    def rate(self, now: float) -> float:
        """Tokens per second over the last 30 s, or over the pool's life when that is shorter."""
        since = now - _RATE_SECONDS
        tokens = sum(n for at, n in tuple(self._tokens) if at >= since)
        span = now - max(since, self._began if self._began is not None else now)
        return tokens / span if span > 0 else 0.0

    def snapshot(self, now: float, executor: ExecutorStats, **live: Any) -> PoolStats:
        """The statistics of a pool: what was counted here, what its executor says, and what the pool knows now.

        Args:
            now: the pool's clock.
            executor: what the executor says.
            live: the other fields of `PoolStats`; one that is counted, too, has the value given here.
        """
        found = {name: getattr(executor, name) for name in _OF_EXECUTOR}
        found |= {name: getattr(self, name) for name in _COUNTED}
        return PoolStats(
            **{**found, **live},
            tokens_per_second=self.rate(now),
            ttft=quantiles(self._ttft),
            latency=quantiles(self._latency),
        )
