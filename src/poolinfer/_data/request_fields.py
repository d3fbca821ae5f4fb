"""What every request has: its timeout and its priority."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import TypedDict


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFields:
    """Fields that every request has; `Chat`, `Raw` and the other requests explain them."""

    timeout: float | None = None
    priority: int = 0


class RequestOptions(TypedDict, total=False):
    """Options of every call; see `Chat`, `Raw` and the other requests."""

    timeout: float | None
    priority: int
