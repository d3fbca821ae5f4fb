"""The methods that ask about tokens, sync and async. `Pool` and `Model` have them through `CallMethods`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from typing_extensions import Unpack

from .._data.prompt_builder import ChatInput
from .._data.text_results import AppliedTemplate
from .._data.token_requests import (
    ApplyTemplate,
    ApplyTemplateOptions,
    CountTokensOptions,
    Detokenize,
    DetokenizeOptions,
    Tokenize,
    TokenizeOptions,
)
from .call import Call
from .missing_argument import says_what_is_missing


class TokenMethods(ABC):
    """Calls about tokens over one primitive: `submit`. They are calls, as only a worker may have the vocabulary."""

    @abstractmethod
    def submit(self, request: Any) -> Call[Any]:
        """See `CallMethods.submit`."""

    @says_what_is_missing(Tokenize, "text")
    def tokenize(self, text: str, **options: Unpack[TokenizeOptions]) -> list[int]:
        """The token ids of a text. Options: see `Tokenize`."""
        return self.submit(Tokenize(text, **options))._answer("`await atokenize(..)`")  # type: ignore[no-any-return]

    @says_what_is_missing(Tokenize, "text")
    async def atokenize(self, text: str, **options: Unpack[TokenizeOptions]) -> list[int]:
        """`tokenize` for async code (asyncio and trio)."""
        return await self.submit(Tokenize(text, **options))  # type: ignore[no-any-return]

    @says_what_is_missing(Detokenize, "tokens")
    def detokenize(self, tokens: Sequence[int], **options: Unpack[DetokenizeOptions]) -> str:
        """The text of token ids. Options: see `Detokenize`."""
        return self.submit(Detokenize(tokens, **options))._answer("`await adetokenize(..)`")  # type: ignore[no-any-return]

    @says_what_is_missing(Detokenize, "tokens")
    async def adetokenize(self, tokens: Sequence[int], **options: Unpack[DetokenizeOptions]) -> str:
        """`detokenize` for async code (asyncio and trio)."""
        return await self.submit(Detokenize(tokens, **options))  # type: ignore[no-any-return]

    @says_what_is_missing(ApplyTemplate, "prompt")
    def apply_template(self, prompt: ChatInput, **options: Unpack[ApplyTemplateOptions]) -> AppliedTemplate:
        """What the model's chat template makes of messages, as text and as tokens. Options: see `ApplyTemplate`."""
        call = self.submit(ApplyTemplate(prompt, **options))
        return call._answer("`await aapply_template(..)`")  # type: ignore[no-any-return]

    @says_what_is_missing(ApplyTemplate, "prompt")
    async def aapply_template(
        self, prompt: ChatInput, **options: Unpack[ApplyTemplateOptions]
    ) -> AppliedTemplate:
        """`apply_template` for async code (asyncio and trio)."""
        return await self.submit(ApplyTemplate(prompt, **options))  # type: ignore[no-any-return]

    def count_tokens(self, prompt: ChatInput, **options: Unpack[CountTokensOptions]) -> int:
        """How many tokens a text has, or messages with the model's chat template around them.

        Args:
            prompt: a text, which is counted as `raw` would compute it; or messages or a `Prompt`, which are counted
                as `chat` would compute them. To count one user turn, give it as a message.
            options: of a text those of `Tokenize`, of messages those of `ApplyTemplate`.
        """
        return _count(self.submit(_counted(prompt, options))._answer("`await acount_tokens(..)`"))

    async def acount_tokens(self, prompt: ChatInput, **options: Unpack[CountTokensOptions]) -> int:
        """`count_tokens` for async code (asyncio and trio)."""
        return _count(await self.submit(_counted(prompt, options)))


def _counted(prompt: Any, options: Any) -> Tokenize | ApplyTemplate:
    return Tokenize(prompt, **options) if isinstance(prompt, str) else ApplyTemplate(prompt, **options)


def _count(found: Any) -> int:
    return len(found.tokens if isinstance(found, AppliedTemplate) else found)
