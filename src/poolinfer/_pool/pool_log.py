"""The log of a pool: a line when it has started, one when it has closed, and at DEBUG one for each ended call.

A line says what something was and what it took, and never what was asked or answered.
"""

from __future__ import annotations

from .._data.errors import PoolinferError
from .._data.results import Embedding, Response
from .._data.specs import LaneSpec
from .._data.stats import PoolStats
from .._executors.descriptions import Placement
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


def describe(model: str, place: Placement, lane: LaneSpec) -> str:
    """What a pool is made of, for its log."""
    lanes = f"{place.least} to {place.most}" if place.least < place.most else f"{place.most}"
    threads = f"{lane.threads} thread{'s' if lane.threads > 1 else ''}"
    return (
        f"model {printable(model)}, {place.name}, {lanes} x {lane.slots} slots, {threads} per lane,"
        f" n_ctx {lane.n_ctx}, weights {'repacked' if place.weights == 'repack' else 'as in the file'}"
    )


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
    # Of an error its class alone: its message may quote what was asked.
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
