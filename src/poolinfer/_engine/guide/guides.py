"""The guides of an engine's calls: grammars are compiled and tried on a preparer's thread, and kept.

    Constraint ──> grammar_of ──> compile ──> two trial masks ──> kept ──> a copy for each slot: Guide

An answer whose grammar cannot be compiled fails before it begins; none is ever generated without its guide.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from ..._data.errors import InvalidGrammar
from ..engine_protocol import Engine
from .guide import Guide, reason
from .guide_grammar import GuideGrammar
from .guide_vocabulary import GuideVocabulary

if TYPE_CHECKING:
    import llguidance

#: How many grammars are kept, and how many characters they have together.
_MOST_KEPT = 64
_MOST_CHARACTERS = 4 * 1024 * 1024
#: Seconds of processor time that compiling a grammar and trying it may take.
_MOST_SECONDS = 1.0
#: Work for the first mask, which then takes less than a fifth of a second; states of the lexer, of 2 KB each.
_FIRST_WORK = 250_000
_MOST_STATES = 16_000


class Guides:
    """The guides of an engine's calls; thread-safe. Nothing is made before the first guide is asked for.

    Args:
        engine: whose tokens the guides allow.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: GuideVocabulary | None = None
        self._kept: OrderedDict[str, llguidance.LLMatcher | str] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    @property
    def vocabulary(self) -> GuideVocabulary:
        """The engine's tokens, as guides see them."""
        if self._made is None:
            self._made = GuideVocabulary(self._engine)
        return self._made

    def guide(self, grammar: GuideGrammar) -> Guide:
        """A guide for one answer, at the beginning of the grammar.

        Raises:
            InvalidGrammar: the grammar is wrong, too large, or takes too long; or nothing matches it.
        """
        with self._lock:
            found = self._kept.get(grammar.text)
            if found is None:
                found = self._compiled(grammar.text)
                self._keep(grammar.text, found)
            else:
                self._kept.move_to_end(grammar.text)
            if isinstance(found, str):
                raise InvalidGrammar(
                    f"{grammar.field}: no answer can be held to it: {found}", field=grammar.field
                )
            return Guide(found.deep_copy(), self.vocabulary, grammar.field)

    def _compiled(self, text: str) -> llguidance.LLMatcher | str:
        """What stands at the beginning of a grammar; or what is wrong with the grammar."""
        import llguidance

        limits = llguidance.LLParserLimits(
            initial_lexer_fuel=_FIRST_WORK, max_lexer_states=_MOST_STATES, verbose_errors=False
        )
        tokenizer = self.vocabulary.tokenizer
        began = time.thread_time()
        matcher = llguidance.LLMatcher(tokenizer, text, log_level=0, limits=limits)
        wrong = self._tried(matcher)
        if not wrong and time.thread_time() - began > _MOST_SECONDS:
            wrong = "it takes too long to compile; use a smaller one"
        return wrong or matcher

    def _tried(self, matcher: llguidance.LLMatcher) -> str:
        """What two masks show to be wrong."""
        import numpy

        for _ in range(2):
            if matcher.is_error() or matcher.is_stopped():
                break
            packed = numpy.frombuffer(matcher.compute_bitmask(), "u1")
            allowed = numpy.unpackbits(packed, bitorder="little")
            allowed[self.vocabulary.ends] = 0
            if not allowed.any():
                break
            matcher.consume_token(int(allowed.argmax()))
        if matcher.is_error():
            return reason(matcher.get_error())
        matcher.reset()
        return ""

    def _keep(self, text: str, found: llguidance.LLMatcher | str) -> None:
        self._kept[text] = found
        self._characters += len(text)
        while len(self._kept) > _MOST_KEPT or (self._characters > _MOST_CHARACTERS and len(self._kept) > 1):
            oldest, _ = self._kept.popitem(last=False)
            self._characters -= len(oldest)
