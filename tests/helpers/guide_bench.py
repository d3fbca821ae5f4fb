"""Guides over the vocabulary of a fake engine, whose tokens are bytes; a test follows them as a slot does."""

from __future__ import annotations

import json
from typing import Any

import numpy

from poolinfer import Chat
from poolinfer._checks.normalize import normalize
from poolinfer._data.constraint import Constraint
from poolinfer._engine.guide.guide import Guide
from poolinfer._engine.guide.guide_grammar import GuideGrammar, grammar_of, lark_grammar
from poolinfer._engine.guide.guides import Guides
from poolinfer._engine.guide.tool_grammar import tool_part
from poolinfer._engine.text.tool_format import HERMES
from poolinfer.testing import FakeEngine


class GuideBench:
    """Follows guides as a slot does."""

    def __init__(self, engine: FakeEngine | None = None, **options: Any) -> None:
        self.engine = engine or FakeEngine(**options)
        self.guides = Guides(self.engine)
        self.parse_special = bool(options)

    def of(self, kind: Any, text: object = "", *, strict: bool = True) -> Guide:
        """The guide of a constraint."""
        plain = text if isinstance(text, str) else json.dumps(text)
        return self.guides.guide(grammar_of(Constraint(kind, plain, strict)))

    def asked(self, **options: Any) -> Guide:
        """The guide of a request with these options, as a preparer makes it after the checks."""
        request = normalize(Chat("x", **options))
        assert isinstance(request, Chat)
        if request.constraint is not None:
            return self.guides.guide(grammar_of(request.constraint))
        part = tool_part(HERMES, request.tools, self.guides.vocabulary, required=True, several=True)
        assert part is not None
        return self.guides.guide(lark_grammar("tools", part))

    def read(self, guide: Guide, text: str) -> str:
        """What of a text a guide allows."""
        tokens = self.engine.tokenize(text, add_special=False, parse_special=self.parse_special)
        for i, token in enumerate(tokens):
            if not guide.allows(token):
                return b"".join(map(self.engine.piece, tokens[:i])).decode(errors="replace")
            guide.accept(token)
        return text

    def ends(self, guide: Guide) -> bool:
        """Whether the answer may end here."""
        return guide.complete or guide.allows(self.guides.vocabulary.ends[0])

    def whole(self, grammar: GuideGrammar, text: str) -> bool:
        """Whether a text is an answer that a grammar allows."""
        guide = self.guides.guide(grammar)
        return self.read(guide, text) == text and self.ends(guide)

    def random_answer(self, guide: Guide, seed: int, most: int = 300) -> str | None:
        """What a model with random weights answers; None if it does not come to an end."""
        random = numpy.random.default_rng(seed)
        tokens = guide.forced(most)
        while len(tokens) < most:
            row = random.standard_normal(self.engine.info.n_vocab).astype("f4")
            token = int(row.argmax())
            if not guide.allows(token):
                guide.mask(row)
                token = int(row.argmax())
            if guide.complete or self.engine.is_end(token):
                return b"".join(map(self.engine.piece, tokens)).decode()
            guide.accept(token)
            tokens.append(token)
            if guide.complete:
                return b"".join(map(self.engine.piece, tokens)).decode()
        return None
