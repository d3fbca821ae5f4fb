"""The filters of chat templates, by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .collection_filters import COLLECTION_FILTERS
from .function_tables import with_runtime
from .number_filters import NUMBER_FILTERS
from .text_filters import TEXT_FILTERS

#: Every filter; each takes the runtime, the value and its own arguments.
FILTERS: dict[str, Callable[..., Any]] = with_runtime(
    {**TEXT_FILTERS, **NUMBER_FILTERS, **COLLECTION_FILTERS}
)
