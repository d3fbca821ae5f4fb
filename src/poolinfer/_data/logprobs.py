"""Log probabilities of tokens: of one, and of a whole text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its log probability.

    Attributes:
        token: token id.
        text: the text of the token; of a control token, how it is spelled. Where a token is only part of a
            character, the text has replacement marks.
        logprob: natural logarithm of the token's probability before sampling options, at least -9999. 0 for the
            first token of a prompt, which nothing stands before.
        top: alternatives as (token id, text, logprob), most likely first.
        raw: what this token and those of `top` add to a text, as (token id, bytes). Only tokens are there that do
            not add their own `text`: parts of characters, and control tokens, which add nothing.
        rank: 1 for the most likely token, 2 for the next one, and so on; 0 where `logprob` has no meaning.
    """

    token: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()
    raw: tuple[tuple[int, bytes], ...] = ()
    rank: int = 0

    @property
    def piece(self) -> bytes:
        """What the token adds to a text. The pieces of consecutive tokens, joined, are the bytes of their text."""
        return dict(self.raw).get(self.token, self.text.encode())


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a model finds a text (`Pool.score`).

    Attributes:
        tokens: the tokens of the text with their log probabilities, without a first one that nothing stands before.
    """

    tokens: tuple[TokenLogprob, ...]

    @property
    def logprob(self) -> float:
        """The natural logarithm of the probability of the text: the sum over its tokens."""
        return math.fsum(token.logprob for token in self.tokens)

    @property
    def is_greedy(self) -> bool:
        """Whether each token is the most likely one, so that a model at temperature 0 would write this text."""
        return all(token.rank == 1 for token in self.tokens)

    @property
    def perplexity(self) -> float:
        """``exp(-logprob / number of tokens)``; infinity where that is too large, and for no tokens at all."""
        try:
            return math.exp(-self.logprob / len(self.tokens))
        except (OverflowError, ZeroDivisionError):
            return math.inf


def openai_logprobs(tokens: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    """Tokens with their log probabilities, as OpenAI's chat completions give them."""
    return {"content": [_openai_logprob(token) for token in tokens]}


def _openai_logprob(token: TokenLogprob) -> dict[str, Any]:
    raw = dict(token.raw)

    def entry(number: int, text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(raw.get(number, text.encode()))}

    top = [entry(*one) for one in token.top]
    return {**entry(token.token, token.text, token.logprob), "top_logprobs": top}
