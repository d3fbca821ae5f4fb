"""Whether a text follows a constraint, byte by byte, without a model."""

from __future__ import annotations

import json
from typing import Any

import llguidance

from poolinfer._checks.normalize import normalize
from poolinfer._data.constraint import Constraint
from poolinfer._data.errors import InvalidGrammar
from poolinfer._data.requests import Raw
from poolinfer._engine.guide.guide_grammar import grammar_of
from poolinfer._engine.guide.lark_parts import LarkPart

_BYTES = llguidance.LLTokenizer("byte")


def constraint(**options: Any) -> Constraint:
    """The constraint that options of a request mean."""
    found = normalize(Raw("x", **options))
    assert isinstance(found, Raw)
    assert found.constraint is not None
    return found.constraint


class Follower:
    """Follows a constraint as a guide does, with one token for each byte.

    Raises:
        InvalidGrammar: llguidance cannot compile it.
    """

    def __init__(self, held_to: Constraint) -> None:
        self._start = llguidance.LLMatcher(_BYTES, grammar_of(held_to, LarkPart()).text, log_level=0)
        if self._start.is_error():
            raise InvalidGrammar(self._start.get_error(), field="")

    def accepts(self, text: str) -> bool:
        """Whether a text is a whole answer."""
        matcher = self._start.deep_copy()
        tokens = list(text.encode())
        return matcher.try_consume_tokens(tokens) == len(tokens) and bool(matcher.is_accepting())


def follows(text: str, **options: Any) -> bool:
    """Whether a text is a whole answer to a request with these options."""
    return Follower(constraint(**options)).accepts(text)


def as_answer(value: object) -> str:
    """JSON as a held answer has it."""
    return json.dumps(value, ensure_ascii=False)
