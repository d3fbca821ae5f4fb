"""The version of poolinfer, for its public names and for its command line."""

from __future__ import annotations

__version__ = "0.1.0"
