"""Which version of poolinfer this is."""

from __future__ import annotations

#: The same as in `pyproject.toml`.
VERSION = "0.1.0"
