"""Prompts that have a beginning in common."""

from __future__ import annotations

SYSTEM = "You are of great help. " * 20
N = len(SYSTEM)


def ask(n: int, system: str = SYSTEM) -> str:
    return f"{system}{chr(97 + n)} is the number of this question; what is its answer?"
