"""The guides of an engine's calls: grammars are compiled and tried on a preparer's thread, and kept.

    Constraint ──> grammar_of ──> compile ──> a trial answer ──> kept ──> a copy for each slot: Guide

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
#: Seconds of processor time for compiling a grammar and trying it, and for a mask but the first one.
_MOST_SECONDS = 0.7
_MASK_SECONDS = 0.05
#: Tokens of the trial answer. What grows with the answer shows within so many.
_TRIAL_TOKENS = 32
_STRIDE = 7919
#: What llguidance may spend: work for its first mask (a fifth of a second), states of its lexer (2 KB each), and
#: ways in which a text can be read.
_FIRST_WORK, _WORK_FOR_LISTS = 250_000, 2_000_000
_MOST_STATES = 16_000
_MOST_WAYS, _MOST_WAYS_AT_ONCE = 12_000, 1_000


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
                found = self._compiled(grammar)
                self._keep(grammar.text, found)
            else:
                self._kept.move_to_end(grammar.text)
            if isinstance(found, str):
                raise InvalidGrammar(
                    f"{grammar.field}: no answer can be held to it: {found}", field=grammar.field
                )
            return Guide(found.deep_copy(), self.vocabulary, grammar.field)

    def _compiled(self, grammar: GuideGrammar) -> llguidance.LLMatcher | str:
        """What stands at the beginning of a grammar; or what is wrong with the grammar."""
        import llguidance

        limits = llguidance.LLParserLimits(
            initial_lexer_fuel=_WORK_FOR_LISTS if grammar.listed else _FIRST_WORK,
            max_lexer_states=_MOST_STATES,
            step_max_items=_MOST_WAYS,
            max_items_in_row=_MOST_WAYS_AT_ONCE,
            verbose_errors=False,
        )
        tokenizer = self.vocabulary.tokenizer
        began = time.thread_time()
        matcher = llguidance.LLMatcher(tokenizer, grammar.text, log_level=0, limits=limits)
        slow = self._try(matcher, began + _MOST_SECONDS)
        if matcher.is_error():
            return reason(matcher.get_error())
        if slow:
            return "it takes too long to find out which tokens may come next; use a simpler one"
        matcher.reset()
        return matcher

    def _try(self, matcher: llguidance.LLMatcher, end: float) -> bool:
        """Follow a trial answer; whether that takes too long."""
        import numpy

        for n in range(_TRIAL_TOKENS):
            if matcher.is_stopped():
                return False
            began = time.thread_time()
            packed = numpy.frombuffer(matcher.compute_bitmask(), "u1")
            now = time.thread_time()
            if now > end or (n and now - began > _MASK_SECONDS):
                return True
            bits = numpy.unpackbits(packed, bitorder="little")
            bits[self.vocabulary.ends] = 0
            allowed = bits.nonzero()[0]
            if not allowed.size:
                return False
            # Another place among the allowed tokens each time.
            matcher.consume_token(int(allowed[n * _STRIDE % allowed.size]))
        return False

    def _keep(self, text: str, found: llguidance.LLMatcher | str) -> None:
        self._kept[text] = found
        self._characters += len(text)
        while len(self._kept) > _MOST_KEPT or (self._characters > _MOST_CHARACTERS and len(self._kept) > 1):
            oldest, _ = self._kept.popitem(last=False)
            self._characters -= len(oldest)
