"""The log of a pool: a line when it has started, one when it has closed, and at DEBUG one for each ended call.

A line says what happened and how long it took, and never what was asked or answered.
"""

from __future__ import annotations

from .._data.errors import PoolinferError
from .._data.results import Embedding, Response
from .._data.specs import LaneSpec
from .._data.stats import PoolStats
from .._executors.executor_protocol import Description
from .._system.logs import SafeLog, printable
from .ticket import Outcome, Ticket

_log = SafeLog()

_STARTED = "the pool has started in %.2f s: %s"
_CLOSED = (
    "the pool has closed after %d calls (%d succeeded, %d failed, %d cancelled, %d expired; %d refused): %s"
)
_ENDED = (
    "call %(id)d has ended: kind=%(kind)s outcome=%(outcome)s prompt=%(prompt)s cached=%(cached)s"
    " completion=%(completion)s queued=%(queued).3f first=%(first)s total=%(total).3f"
)


def describe(model: str | None, where: Description, lane: LaneSpec) -> str:
    """What a pool is made of, for its log."""
    lanes = f"{where.least} to {where.most}" if where.least < where.most else f"{where.most}"
    threads = f"{lane.threads} thread{'s' if lane.threads > 1 else ''}"
    parts = (
        "no model" if model is None else f"model {printable(model)}",
        where.name,
        f"{lanes} x {lane.slots} slots",
        f"{threads} per lane",
        f"n_ctx {lane.n_ctx}",
        where.note,
    )
    return ", ".join(part for part in parts if part)


def log_started(title: str, seconds: float) -> None:
    """Log at INFO that a pool has started, and how long that took."""
    _log.info(_STARTED, seconds, title)


def log_closed(title: str, stats: PoolStats) -> None:
    """Log at INFO that a pool has closed, and what became of its calls."""
    counts = stats.succeeded, stats.failed, stats.cancelled, stats.expired, stats.rejected
    _log.info(_CLOSED, stats.accepted, *counts, title)


def log_ended(ticket: Ticket, outcome: Outcome, now: float) -> None:
    """Log how a call ended, at DEBUG; `now` is the pool's clock."""
    found = {
        "id": ticket.job.id,
        "kind": type(ticket.job.request).__name__.lower(),
        "outcome": _outcome(outcome),
        **_tokens(outcome),
        "queued": (ticket.started or now) - ticket.created,
        "first": f"{ticket.first - ticket.created:.3f}" if ticket.first else "-",
        "total": now - ticket.created,
    }
    _log.debug(_ENDED, found)


def _outcome(outcome: Outcome) -> str:
    # Only the class of an error is logged: its message may quote what was asked.
    if isinstance(outcome, Response):
        return outcome.finish_reason
    return type(outcome).__name__ if isinstance(outcome, PoolinferError) else "embedded"


def _tokens(outcome: Outcome) -> dict[str, int | str]:
    if isinstance(outcome, Response):
        usage = outcome.usage
        return {
            "prompt": usage.prompt_tokens,
            "cached": usage.cached_tokens,
            "completion": usage.completion_tokens,
        }
    if isinstance(outcome, PoolinferError):
        return {"prompt": "-", "cached": "-", "completion": "-"}
    vectors = [outcome] if isinstance(outcome, Embedding) else outcome
    return {"prompt": sum(one.prompt_tokens for one in vectors), "cached": 0, "completion": 0}
