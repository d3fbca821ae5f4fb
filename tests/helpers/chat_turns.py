"""Turns, tool calls and tools as a caller gives them."""

from __future__ import annotations

from typing import Any

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, {"b": null}]}'}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


def assistant(**rest: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": None, **rest}, USER]
