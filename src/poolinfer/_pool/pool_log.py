"""The log of a pool: a line when it has started, one when it has closed, and at DEBUG one for each ended call.

A line says what happened and how long it took, and never what was asked or answered.
"""

from __future__ import annotations

from .._data.errors import PoolinferError
from .._data.results import Embedding, Response
from .._data.specs import LaneSpec
from .._data.stats import PoolStats
from .._data.text_results import RankedDocument
from .._executors.executor_protocol import Description
from .._system.logs import SafeLog, printable
from .outcomes import Outcome
from .ticket import Ticket

_log = SafeLog()

_STARTED = "the pool has started in %.2f s: %s"
_CLOSED = (
    "the pool has closed after %d calls (%d succeeded, %d failed, %d cancelled, %d expired; %d refused): %s"
)
_ENDED = (
    "call %(id)d has ended: kind=%(kind)s outcome=%(outcome)s prompt=%(prompt)s cached=%(cached)s"
    " completion=%(completion)s queued=%(queued).3f first=%(first)s total=%(total).3f"
)
#: How the calls of some kinds are said to have ended well.
_ENDINGS = {"embed": "embedded", "rerank": "ranked"}


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
    kind = type(ticket.job.request).__name__.lower()
    found = {
        "id": ticket.job.id,
        "kind": kind,
        "outcome": _outcome(kind, outcome),
        **_tokens(outcome),
        "queued": (ticket.started or now) - ticket.created,
        "first": f"{ticket.first - ticket.created:.3f}" if ticket.first else "-",
        "total": now - ticket.created,
    }
    _log.debug(_ENDED, found)


def _outcome(kind: str, outcome: Outcome) -> str:
    # Only the class of an error is logged: its message may quote what was asked.
    if isinstance(outcome, Response):
        return outcome.finish_reason
    if isinstance(outcome, PoolinferError):
        return type(outcome).__name__
    return _ENDINGS.get(kind, "answered")


def _tokens(outcome: Outcome) -> dict[str, int | str]:
    if isinstance(outcome, Response):
        usage = outcome.usage
        return {
            "prompt": usage.prompt_tokens,
            "cached": usage.cached_tokens,
            "completion": usage.completion_tokens,
        }
    texts = outcome if isinstance(outcome, list) else [outcome]
    found = [text.prompt_tokens for text in texts if isinstance(text, Embedding | RankedDocument)]
    if not found:
        return {"prompt": "-", "cached": "-", "completion": "-"}
    return {"prompt": sum(found), "cached": 0, "completion": 0}
