"""How many tokens of a generation are reasoning, and the tokens that end it when there have been enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..text.text_stream import TextStream


class ReasoningBudget:
    """Counts the tokens of reasoning; once the budget is spent, it says which tokens close the block.

    Args:
        stream: the text of the generation.
        budget: most tokens of reasoning, in all blocks together; None for no bound.
        closing: the tokens that close a block, for the model.

    Attributes:
        n_tokens: tokens of reasoning so far, the marks around it included.
    """

    def __init__(self, stream: TextStream, budget: int | None, closing: Sequence[int]) -> None:
        self.n_tokens = 0
        self._stream = stream
        self._budget = budget
        self._closing = closing
        self._waiting: deque[int] = deque()
        self._inside = stream.in_reasoning
        self._check()

    def next(self) -> int | None:
        """The next token, where it is not the model's to choose."""
        return self._waiting.popleft() if self._waiting else None

    def note(self) -> None:
        """Take notice of a token that the stream has got."""
        inside = self._stream.in_reasoning
        self.n_tokens += inside or self._inside
        self._inside = inside
        if inside:
            self._check()

    def _check(self) -> None:
        """Close the block if the budget is spent, but never in the middle of a character."""
        spent = self._budget is not None and self.n_tokens >= self._budget
        if spent and self._inside and not self._waiting and self._stream.at_character:
            self._waiting.extend(self._closing)
