"""The guide of one slot: which tokens may come next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..._data.errors import EngineError

if TYPE_CHECKING:
    import llguidance
    import numpy
    import numpy.typing

    from .guide_vocabulary import GuideVocabulary

#: Seconds of processor time that a token may take, and what the tokens of an answer may take beyond that, together.
#: An answer fails of two slow tokens at least: a single one may be unlucky, as Python may collect garbage there.
_TOKEN_SECONDS = 0.05
_MORE_SECONDS = 0.15
_LONG_TOKENS = 2
_MOST_SHOWN = 300


class Guide:
    """Holds one answer to a grammar; owned by one slot, and used by its lane's thread.

    For each token that is chosen: `allows`, then `mask` if it said no, and `accept`.

    Args:
        matcher: where the grammar stands; nobody else may use it.
        vocabulary: the tokens.
        field: the name of the option that the grammar is from.

    Attributes:
        complete: whether only the end may follow.
    """

    def __init__(self, matcher: llguidance.LLMatcher, vocabulary: GuideVocabulary, field: str) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._field = field
        self._n_accepted = 0
        self._spent = 0.0
        self._left = _MORE_SECONDS
        self._n_long = 0
        self.complete = False

    def forced(self, most: int, stops: Sequence[str] = ()) -> list[int]:
        """Accept the tokens with which every answer begins, but at most so many; at least one more will follow.

        None are accepted if one of `stops` is in their text.
        """
        tokens = self._matcher.compute_ff_tokens()[: max(0, most)]
        while tokens:
            matcher = self._matcher.deep_copy()
            if matcher.consume_tokens(tokens) and not matcher.is_stopped():
                text = self._vocabulary.text(tokens)
                if any(stop in text for stop in stops):
                    return []
                self._matcher = matcher
                self._n_accepted += len(tokens)
                return tokens
            tokens.pop()
        return []

    def allows(self, token: int) -> bool:
        """Whether a token may come next.

        Raises:
            EngineError: the grammar cannot be followed any further.
        """
        began = time.thread_time()
        # What asks a matcher that has failed is told no, and `mask` says why it failed.
        allowed = bool(self._matcher.validate_tokens([token]))
        self._spent = time.thread_time() - began
        return allowed

    def mask(self, logits: numpy.typing.NDArray[numpy.float32]) -> None:
        """Put minus infinity in a row of logits, in place, for each token that may not come next.

        Where no token but an end may come next, `complete` is true from then on.

        Raises:
            EngineError: the grammar cannot be followed any further.
        """
        import numpy

        began = time.thread_time()
        packed = numpy.frombuffer(self._matcher.compute_bitmask(), "u1")
        self._spent += time.thread_time() - began
        if self._matcher.is_error():
            raise self._failed(reason(self._matcher.get_error()))
        allowed = numpy.unpackbits(packed, count=logits.size, bitorder="little").view(bool)
        numpy.copyto(logits, -numpy.inf, where=~allowed)
        allowed[self._vocabulary.ends] = False
        self.complete = self._matcher.is_stopped() or not allowed.any()

    def accept(self, token: int) -> None:
        """Note a token that comes next; none that ends the answer.

        Raises:
            EngineError: the token is not allowed, or the grammar takes too long to follow.
        """
        began = time.thread_time()
        if not self._matcher.consume_token(token):
            raise self._failed(reason(self._matcher.get_error()) or f"token {token} is not allowed")
        self._n_accepted += 1
        self.complete = self._matcher.is_stopped()
        # Time of the processor, since a loaded machine is not the grammar's fault.
        took, self._spent = self._spent + time.thread_time() - began, 0.0
        if took > _TOKEN_SECONDS:
            self._left -= took - _TOKEN_SECONDS
            self._n_long += 1
            if self._left < 0 and self._n_long >= _LONG_TOKENS:
                raise self._failed("it takes too long to find out which tokens may come next")

    def _failed(self, why: str) -> EngineError:
        return EngineError(
            f"{self._field}: the answer cannot be held to it after {self._n_accepted} tokens: {why};"
            " use a simpler one"
        )


def reason(message: str) -> str:
    """What llguidance says, without the places in the grammar and the state that it adds."""
    lines = [line.strip() for line in message.splitlines()]
    # An expression is shown before the line that says what is wrong with it.
    said = [*lines[:1], *(line for line in lines[1:] if line.startswith("error:"))]
    # What llguidance would have its own users do is no remedy for ours.
    return " ".join(said).partition("; either increase")[0][:_MOST_SHOWN]
