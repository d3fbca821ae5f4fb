"""How tokens are chosen: the values of all sampling options, for requests that leave some of them open."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from .requests import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling options of a model, for requests that leave them open (`ModelInfo.sampling`).

    They are llama.cpp's defaults, but for those that the model's file has of its own (``general.sampling.*``).
    `Chat` explains each of them.
    """

    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat: Literal[0, 1, 2] = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")

    def of(self, request: Generation) -> Sampling:
        """The sampling options of a checked request: its own, and these where it has none."""
        own = ((name, getattr(request, name)) for name in _NAMES)
        return replace(self, **{name: value for name, value in own if value is not None})


_NAMES = tuple(field.name for field in fields(Sampling))
#: llama.cpp's own defaults.
LLAMA_CPP_SAMPLING = Sampling()
