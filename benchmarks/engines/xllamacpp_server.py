"""xllamacpp: llama.cpp's own server core inside the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xllamacpp
from engine import Answer
from workloads import Prompt, Workload


class XllamacppServer:
    """An ``xllamacpp.Server`` with as many slots as calls run at a time."""

    def __init__(self, work: Workload) -> None:
        self.settings: dict[str, Any] = {
            "n_parallel": work.slots,
            "n_ctx": work.n_ctx * work.slots,
            "n_batch": 512,
            "n_ubatch": 512,
            "n_threads": work.threads,
            "cache_prompt": True,
            "cont_batching": True,
            "kv_unified": False,
            "embedding": work.kind == "embed",
        }
        self._model = work.model
        self._body: dict[str, Any] = {"temperature": 0, "stream": True, "ignore_eos": True}
        if work.banned:
            self._body["logit_bias"] = [[token, False] for token in work.banned]

    def start(self) -> None:
        """Load the model."""
        params = xllamacpp.CommonParams()
        params.model.path = self._model
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self.settings["n_threads"]
        for name, value in self.settings.items():
            if name != "n_threads":
                setattr(params, name, value)
        if self.settings["embedding"]:
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.fit_params = False  # otherwise xllamacpp changes n_ctx to fit the memory
        params.verbosity = -1
        self._server = xllamacpp.Server(params)

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt."""
        texts: list[str] = []
        last: dict[str, Any] = {}

        def take(piece: dict[str, Any]) -> bool:
            if "error" in piece:
                raise RuntimeError(str(piece["error"]))
            if text := piece["choices"][0]["text"]:
                heard()
                texts.append(text)
            last.update(piece)
            return False

        body = {"prompt": prompt.tokens or prompt.text, "max_tokens": max_tokens, **self._body}
        self._server.handle_completions(body, take)
        usage = last["usage"]
        cached = usage.get("prompt_tokens_details", {}).get("cached_tokens")
        return Answer("".join(texts), usage["completion_tokens"], usage["prompt_tokens"], cached)

    def embed(self, texts: list[str]) -> list[int]:
        """Turn texts into vectors."""
        found = self._server.handle_embeddings({"input": texts, "model": "model"})
        return [len(item["embedding"]) for item in found["data"]]

    def close(self) -> None:
        """Free the server."""
        del self._server
