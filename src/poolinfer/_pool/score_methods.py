"""The methods that score texts: how likely a model finds them. `Pool` and `Model` have them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from typing_extensions import Unpack

from .._checks.refusals import refuse
from .._data.logprobs import Score
from .._data.requests import Raw, Request, ScoreOptions
from .call import Call


class ScoreMethods(ABC):
    """`score` and `ascore`, over one primitive: `submit`."""

    @abstractmethod
    def submit(self, request: Request) -> Call[Any]:
        """Accept a request; see `CallMethods.submit`."""

    def score(self, text: str, prompt: str = "", **options: Unpack[ScoreOptions]) -> Score:
        """How likely the model finds a text, after a prompt or by itself; generates nothing.

        ``score(" Paris", "The capital of France is").logprob`` compares answers to a question, and
        ``score(text).perplexity`` says how well the model knows a kind of text. Of a text by itself the first token
        counts only where the model puts a token before every text (BOS).

        Prompt and text become tokens together. A token that has a part of both belongs to the text. To score many
        texts, give ``map`` requests like the one that this method makes: ``Raw(prompt + text, max_tokens=0,
        prompt_logprobs=True, prompt_logprobs_start=len(prompt))``, whose responses have a ``score``.

        Args:
            text: what to score.
            prompt: what stands before it; it is computed once where several texts follow it, one after the other.
            options: `top_logprobs`, `parse_special`, `cache_key`, `timeout` and `priority` of `Raw`.

        Raises:
            InvalidRequest: `text` or `prompt` is no str, `text` is empty, or an option is out of bounds.
            Exception: what `submit` and `Call.result` raise.
        """
        return self.submit(_request(text, prompt, options))._answer("`await ascore(..)`").score  # type: ignore[no-any-return]

    async def ascore(self, text: str, prompt: str = "", **options: Unpack[ScoreOptions]) -> Score:
        """`score` for async code (asyncio and trio)."""
        response = await self.submit(_request(text, prompt, options))
        return response.score  # type: ignore[no-any-return]


def _request(text: str, prompt: str, options: ScoreOptions) -> Raw:
    for name, value in (("text", text), ("prompt", prompt)):
        if not isinstance(value, str):
            refuse(name, value, "use a str")
    if not text:
        refuse("text", text, "give some text")
    start = len(prompt)
    return Raw(prompt + text, max_tokens=0, prompt_logprobs=True, prompt_logprobs_start=start, **options)
