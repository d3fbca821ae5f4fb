"""An engine's vocabulary as llguidance takes it, and Lark's spelling of texts in which control tokens stand."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ..._data.errors import InvalidRequest
from ..engine_protocol import Engine, EngineFault

if TYPE_CHECKING:
    import llguidance


class GuideVocabulary:
    """The tokens of an engine, as guides see them.

    Args:
        engine: whose tokens they are.

    Attributes:
        ends: the ids of all tokens that end an answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.ends = [token for token in range(engine.info.n_vocab) if engine.is_end(token)]

    @cached_property
    def tokenizer(self) -> llguidance.LLTokenizer:
        """The tokens in llguidance's own form, which takes a second and 50 MB for 150,000 tokens."""
        import llguidance

        spelling = _Spelling(self._engine, self.ends)
        return llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(spelling), n_vocab=len(spelling.tokens), eos_token=self.ends or None
        )

    def text(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        return b"".join(map(self._engine.piece, tokens)).decode(errors="replace")

    def lark(self, text: str) -> str:
        """A text as Lark: strings, and control tokens by their ids. Tokens that end an answer are left out."""
        return self.joined(self.parts(text))

    def parts(self, text: str) -> list[str | int]:
        """The texts and control tokens that a text consists of."""
        pieces = re.split(self._control, text) if self._engine.info.control else [text]
        found: list[str | int] = []
        for i, piece in enumerate(pieces):
            token = self._token(piece) if i % 2 else None
            if token is not None:
                found.append(token)
            elif piece:
                found.append(piece)
        return found

    def joined(self, parts: Sequence[str | int]) -> str:
        """Texts and control tokens as Lark. Tokens that end an answer are left out."""
        return " ".join(
            quoted(part) if isinstance(part, str) else f"<[{part}]>"
            for part in parts
            if part not in self.ends
        )

    @cached_property
    def _control(self) -> re.Pattern[str]:
        longest_first = sorted(self._engine.info.control, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def _token(self, spelling: str) -> int | None:
        ids = self._engine.tokenize(spelling, add_special=False, parse_special=True)
        return ids[0] if len(ids) == 1 and ids[0] in self._engine.info.control_ids else None


class _Spelling:
    """What `llguidance.TokenizerWrapper` asks of a tokenizer.

    Attributes:
        eos_token_id: a token that ends an answer.
        bos_token_id: none is needed.
        tokens: the bytes of all tokens, by their ids.
        special_token_ids: ids of the tokens that stand for no text.
    """

    bos_token_id: int | None = None

    def __init__(self, engine: Engine, ends: list[int]) -> None:
        self._engine = engine
        pieces = [engine.piece(token) for token in range(engine.info.n_vocab)]
        special = engine.info.control_ids.union(ends)
        self.special_token_ids = [
            token for token, piece in enumerate(pieces) if not piece or token in special
        ]
        self.tokens = list(pieces)
        for token in self.special_token_ids:
            self.tokens[token] = b"<|%d|>" % token
        self.eos_token_id = ends[0] if ends else self.special_token_ids[0] if self.special_token_ids else 0
        self._ids = {piece: token for token, piece in enumerate(pieces) if piece and token not in special}
        self._longest = max(map(len, self._ids), default=1)

    def __call__(self, text: bytes) -> list[int]:
        """The tokens of a text that a grammar forces: those that the model knows it by."""
        try:
            tokens = self._engine.tokenize(text.decode(), add_special=False, parse_special=False)
        except (UnicodeDecodeError, InvalidRequest, EngineFault):
            return self._greedy(text)
        # Some tokenizers put a space before every text.
        exact = b"".join(map(self._engine.piece, tokens)) == text
        return tokens if exact else self._greedy(text)

    def _greedy(self, text: bytes) -> list[int]:
        """The longest token at each place; nothing from the first byte on that no token begins with."""
        tokens: list[int] = []
        start = 0
        while start < len(text):
            lengths = range(min(self._longest, len(text) - start), 0, -1)
            found = next((n for n in lengths if text[start : start + n] in self._ids), None)
            if found is None:
                return tokens
            tokens.append(self._ids[text[start : start + found]])
            start += found
        return tokens


def quoted(text: str) -> str:
    """A text as a string of Lark."""
    return json.dumps(text, ensure_ascii=False)
