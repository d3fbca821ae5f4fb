"""The log probabilities of a prompt's tokens, taken from the rows that compute the prompt.

The row of a token says how likely the next one is. So to score the tokens from the index `f` on takes the output of
the rows from `f - 1` on. These rows are computed even where their KV is resident.
"""

from __future__ import annotations

from ..._data.logprobs import TokenLogprob
from ..._data.requests import Generation, Raw
from ..engine_protocol import Context, Engine
from .token_logprobs import token_logprob


class PromptScorer:
    """What is known of one prompt.

    Args:
        engine: knows the texts of tokens.
        tokens: those of the prompt.
        first: index of the first token that has a log probability.
        n_top: how many alternatives there are beside each token.

    Attributes:
        found: the tokens from `first` on, as far as they are scored.
    """

    def __init__(self, engine: Engine, tokens: list[int], first: int, n_top: int) -> None:
        self.found: list[TokenLogprob] = []
        self._engine = engine
        self._tokens = tokens
        self._first = first
        self._n_top = n_top
        if not first:
            # Nothing stands before the first token, so that a model says nothing of it.
            piece = engine.piece(tokens[0])
            text = piece.decode(errors="replace") or engine.spelling(tokens[0])
            raw = () if piece == text.encode() else ((tokens[0], piece),)
            self.found.append(TokenLogprob(tokens[0], text, 0.0, raw=raw))

    @property
    def _next(self) -> int:
        """Index of the next token to score."""
        return self._first + len(self.found)

    @property
    def _rows(self) -> range:
        """Positions of the rows whose output is still wanted."""
        return range(self._next - 1, len(self._tokens) - 1)

    def reusable(self, n: int) -> int:
        """How many of the slot's `n` tokens may be looked for elsewhere, the last of which is computed here."""
        return self._next if self._rows else n

    def room(self, computed: int, outputs: int) -> int | None:
        """How many rows may be computed next with so many outputs; None for any number."""
        rows = self._rows
        return None if len(rows) <= outputs else rows.start - computed + outputs

    def wanted(self, position: int, n: int) -> range:
        """Positions of the rows, of `n` from a position on, whose output is wanted."""
        rows = self._rows
        return range(max(position, rows.start), min(position + n, rows.stop))

    def take(self, context: Context, row: int, positions: range) -> None:
        """Score tokens by the outputs of consecutive rows of the last decode.

        Args:
            context: what has decoded.
            row: index of the first row.
            positions: the positions of the rows.

        Raises:
            EngineFault: a row holds a NaN.
        """
        for i, position in enumerate(positions):
            token = self._tokens[position + 1]
            self.found.append(token_logprob(self._engine, context.logits(row + i), token, self._n_top))


def prompt_scorer(request: Generation, tokens: list[int], engine: Engine) -> PromptScorer | None:
    """What scores the prompt of a request; None where that is not asked for."""
    if not isinstance(request, Raw) or not (request.prompt_logprobs or (request.echo and request.logprobs)):
        return None
    first = _first_of(request.prompt[request.prompt_logprobs_start :], tokens, request, engine)
    return PromptScorer(engine, tokens, first, request.top_logprobs)


def _first_of(text: str, tokens: list[int], request: Raw, engine: Engine) -> int:
    """Index of the first token that has a part of a text with which the prompt ends.

    Counted from the end: some tokenizers put a space before a prompt.
    """
    if not request.prompt_logprobs_start:
        return 0
    left, index = len(text.encode()), len(tokens)
    while left > 0 and index > 0:
        index -= 1
        spelled = engine.spelling(tokens[index]).encode() if request.parse_special else b""
        left -= len(engine.piece(tokens[index]) or spelled)
    return index
