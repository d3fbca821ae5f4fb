"""One `llama_cpp.Llama` behind a lock, as applications do without a pool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as native
from engine import Answer
from workloads import Prompt, Workload

N_BATCH = 512


class LockedLlama:
    """One ``Llama`` and a lock around each call."""

    def __init__(self, work: Workload) -> None:
        self.settings: dict[str, Any] = {
            "n_ctx": work.n_ctx,
            "n_batch": N_BATCH,
            "n_threads": work.threads,
            "n_threads_batch": work.threads,
        }
        # Its own default is off, which is better only where most of the work is decoding.
        self.settings["flash_attn"] = any(
            len(prompt.tokens or ()) > 2 * work.max_tokens for prompt in work.prompts
        )
        if work.kind == "embed":
            self.settings |= {"embedding": True, "pooling_type": native.LLAMA_POOLING_TYPE_MEAN}
        self._model = work.model
        self._bias = dict.fromkeys(work.banned, -100.0) or None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Load the model."""
        self._llama = llama_cpp.Llama(self._model, verbose=False, **self.settings)

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Wait for the lock and answer one prompt."""
        texts, reason = [], None
        with self._lock:
            pieces: Any = self._llama.create_completion(
                prompt.tokens or prompt.text,
                max_tokens=max_tokens,
                temperature=0.0,
                logit_bias=self._bias,
                stream=True,
            )
            for piece in pieces:
                choice = piece["choices"][0]
                if choice["text"]:
                    heard()
                    texts.append(choice["text"])
                reason = choice["finish_reason"] or reason
        # It streams no counts; an answer that ended for its length has exactly what was asked for.
        return Answer("".join(texts), max_tokens if reason == "length" else -1)

    def embed(self, texts: list[str]) -> list[int]:
        """Turn texts into vectors."""
        with self._lock:
            found: Any = self._llama.embed(texts)
        return [len(vector) for vector in found]

    def close(self) -> None:
        """Free the model."""
        self._llama.close()
