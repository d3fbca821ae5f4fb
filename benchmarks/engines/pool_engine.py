"""poolinfer itself, as one of the engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import Answer, Unavailable
from workloads import Prompt, Workload

import poolinfer

#: Seconds that no step takes: with it a pool fills its batches as the bare loop does.
UNBOUNDED = 10.0


class PoolEngine:
    """A `poolinfer.Pool`, read as a stream by each calling thread."""

    def __init__(
        self, work: Workload, executor: str, workers: int, slots: int, threads: int, whole: bool
    ) -> None:
        options: dict[str, Any] = {"executor": executor, "n_ctx": work.n_ctx}
        if workers:
            options |= {"workers": workers, "slots": slots, "threads": threads}
        elif work.tell_slots:
            options["slots"] = work.slots
        if whole:
            options["latency_target"] = UNBOUNDED
        self.settings = options
        self._model = work.model
        self._bias = dict.fromkeys(work.banned, -100.0) or None

    def start(self) -> None:
        """Load the model."""
        try:
            self._pool = poolinfer.Pool(self._model, **self.settings)
        except poolinfer.InvalidRequest as refusal:
            raise Unavailable(str(refusal)) from refusal
        self._pool.start()

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt."""
        request = poolinfer.Raw(
            prompt.text, max_tokens=max_tokens, temperature=0, parse_special=True, logit_bias=self._bias
        )
        call = self._pool.stream(request)
        for _ in call:
            heard()
        response = call.result()
        usage = response.usage
        return Answer(response.text, usage.completion_tokens, usage.prompt_tokens, usage.cached_tokens)

    def embed(self, texts: list[str]) -> list[int]:
        """Turn texts into vectors."""
        return [vector.dimensions for vector in self._pool.embed(texts)]

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()
