"""The vocabulary in a model file's metadata, and its special tokens, which are looked for in every text."""

from __future__ import annotations

from dataclasses import dataclass, field

from .header_reader import HeaderReader, Unsound

#: Where the tokens and their types stand in the metadata.
TOKENS_KEY, TOKEN_TYPES_KEY = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_MAX_TOKENS = 1 << 20
# llama.cpp and `Spellings` look for each special token in texts. These bound how many there are, their bytes, and
# their bytes without shared beginnings, of which our regex is made. Models that speak have the most: 65,536 tokens,
# 0.7 MB and 0.2 MB.
_MAX_SPECIAL, _MAX_SPECIAL_BYTES, _MAX_SPECIAL_OWN_BYTES = 1 << 17, 1 << 20, 1 << 18
# Unknown, control and user-defined tokens.
_SPECIAL_TYPES = frozenset((2, 3, 4))


@dataclass(slots=True)
class Vocabulary:
    """The tokens and their types, which a file may give in either order.

    Attributes:
        tokens: the spelling of each token.
        types: the type of each token, as a number.
    """

    tokens: list[bytes] = field(default_factory=list)
    types: tuple[object, ...] = ()

    def check(self) -> None:
        """Refuse more special tokens than can be looked for in texts.

        Raises:
            Unsound: there are too many, or they have too many bytes.
        """
        pairs = zip(self.tokens, self.types, strict=False)
        special = [token for token, kind in pairs if kind in _SPECIAL_TYPES]
        size = sum(map(len, special))
        if (
            len(special) > _MAX_SPECIAL
            or size > _MAX_SPECIAL_BYTES
            or _own_bytes(special) > _MAX_SPECIAL_OWN_BYTES
        ):
            raise Unsound(
                f"has {len(special):,} control and user-defined tokens of {size:,} bytes,"
                " which are too many to be looked for in texts"
            )


def read_tokens(reader: HeaderReader, count: int, what: str) -> list[bytes]:
    """Read the spellings of all tokens. llama.cpp aborts when one comes twice (it renames empty ones).

    Raises:
        Unsound: there are none or too many, or one comes twice.
    """
    if not 0 < count <= _MAX_TOKENS:
        raise Unsound(f"claims {count:,} tokens; 1 to {_MAX_TOKENS:,} are allowed")
    tokens: list[bytes] = []
    reader.walk(count, what, tokens)
    distinct = set(tokens)
    empty = tokens.count(b"")
    if len(distinct) - (b"" in distinct) != count - empty:
        raise Unsound("holds the same token twice in its vocabulary")
    return tokens


def check_type_count(count: int) -> None:
    """Refuse the types of more tokens than a vocabulary may have.

    Raises:
        Unsound: there are too many.
    """
    if count > _MAX_TOKENS:
        raise Unsound(f"claims the types of {count:,} tokens; at most {_MAX_TOKENS:,} are allowed")


def _own_bytes(texts: list[bytes]) -> int:
    """Bytes of texts in their order, without the beginning that each shares with the one before it."""
    texts = sorted(texts)
    return sum(map(_own, [b"", *texts], texts))


def _own(before: bytes, text: bytes) -> int:
    """Bytes of a text from the first one on that differs from the text before it."""
    return len(text) - next(
        (i for i, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(before)
    )
