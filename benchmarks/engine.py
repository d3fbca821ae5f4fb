"""What a benchmark asks of an engine: the protocol, its answer, and the error of one that cannot be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from workloads import Prompt


class Unavailable(Exception):
    """The engine cannot be measured here; the message says why, and the report repeats it."""


@dataclass(frozen=True)
class Answer:
    """What an engine answered to one prompt.

    Attributes:
        text: all generated text; empty where the engine gives tokens only.
        completion_tokens: number of generated tokens; -1 where the engine does not say.
        prompt_tokens: tokens of the prompt as the engine counts them; None where it does not say.
        cached_tokens: how many of the prompt's tokens were not computed; None where the engine does not say.
    """

    text: str
    completion_tokens: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None


class Engine(Protocol):
    """Something that answers prompts, greedily, for any number of threads at a time.

    Attributes:
        settings: the engine's options, for the report.
    """

    settings: dict[str, Any]

    def start(self) -> None:
        """Load the model; raises `Unavailable`."""
        ...

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt and wait for the end; calls `heard` as soon as a reader has the next piece."""
        ...

    def embed(self, texts: list[str]) -> list[int]:
        """Turn texts into vectors; returns the length of each vector."""
        ...

    def close(self) -> None:
        """Free everything that the engine took."""
        ...
