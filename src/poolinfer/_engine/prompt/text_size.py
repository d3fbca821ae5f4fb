"""Refuses texts that cannot fit, or cannot be tokenized, by their size, before any work is done on them.

For many vocabularies llama.cpp cuts a text into words with `std::regex`, which calls itself once for each character
of a match. So a long word, or a long stretch of blanks, takes a deep stack. Measured with every pre-tokenizer that
llama.cpp knows: 320 bytes for a character (x86-64, GCC 12). So a long text is tokenized on a stack of its own,
which suits its length. A stretch that even the deepest stack could not hold is refused.
"""

from __future__ import annotations

import re

from ..._checks.model_fit import with_room
from ..._data.errors import ContextOverflow, InvalidRequest
from ..tokenizer import Tokenizer

#: Most characters of a text that can be tokenized on the stack of any of our threads, whatever it matches.
SHORT_TEXT = 4096
#: Characters of one match that the deepest stack holds.
LONGEST_MATCH = 512 * 1024
# Other compilers take more than was measured. What is not touched takes no memory.
_BYTES_A_CHARACTER = 1024
_OTHER_BYTES = 1024 * 1024
# A token of that many bytes on average is rare: only a longer prompt is worth a look at the whole vocabulary.
_COMMON_BYTES = 8

# What one match of any of the patterns may consist of: no whitespace; nothing but whitespace; or letters, their
# marks and spaces (`exaone-moe`). Each kind here has more characters than llama.cpp's. A match may also be of one
# kind and then of another (signs and newlines). So a match that is too long is of one kind for at least half of
# its length, and fills a block of a quarter.
_BLOCK = LONGEST_MATCH // 4
_ONE_KIND = re.compile(r"[^\t-\r ]+|\s+|[^\t-\r!-@\[-`{-~]+")

# Two pre-tokenizers have a pattern that looks from each of some characters to the end of all that follow: blanks
# (``\s+$``), and digits (``(?=(\d{3})+(?!\d))``). 16,000 of them take 11 s and 25 s, and twice as many take four
# times as long.
_SLOW_PATTERNS = {
    "deepseek-llm": (re.compile(r"[^\S\r\n]+"), "blanks"),
    "superbpe": (re.compile(r"\d+"), "digits"),
}
_SLOW_BLOCK = 512


def check_size(field: str, text: str, tokenizer: Tokenizer, n_ctx: int) -> None:
    """Refuse a text that cannot have as few tokens as a call may use, or that cannot be tokenized.

    Args:
        field: what the text is, for messages.
        text: the text.
        tokenizer: what would tokenize it.
        n_ctx: tokens that one call may use.

    Raises:
        ContextOverflow: the text would be too long even in the longest tokens that there are.
        InvalidRequest: the text has a stretch that no stack holds.
    """
    size = len(text) if text.isascii() else len(text.encode())
    if size > n_ctx * _COMMON_BYTES and (longest := tokenizer.token_bytes) is not None:
        least = -(-size // longest)
        if least > n_ctx:
            raise ContextOverflow(
                f"{field} has {size:,} bytes, which are at least {least:,} tokens, but a call may use {n_ctx}:"
                f" {with_room(['shorten it'], n_ctx, tokenizer.info.trained_for)}",
                field=field,
                n_prompt=least,
                n_ctx=n_ctx,
            )
    check_stretches(field, text, tokenizer.pre_tokenizer)


def shortened(text: str, tokenizer: Tokenizer, n_ctx: int) -> str:
    """A text without what its first `n_ctx` tokens cannot reach, even if each of them were the longest there is."""
    if len(text) <= n_ctx * _COMMON_BYTES or (longest := tokenizer.token_bytes) is None:
        return text
    # A few more, for the tokens at the cut may be others than in the whole text.
    return text[: (n_ctx + 64) * longest]


def stack_for(text: str) -> int:
    """Bytes of stack that tokenizing a text takes which `check_stretches` has let pass."""
    return _OTHER_BYTES + _BYTES_A_CHARACTER * min(len(text), LONGEST_MATCH)


def check_stretches(field: str, text: str, pre_tokenizer: str) -> None:
    """Refuse a text with a stretch whose tokenizing takes more stack than there is, or too long.

    Args:
        field: what the text is, for messages.
        text: the text.
        pre_tokenizer: llama.cpp's name of the patterns that cut it, or ``""``.

    Raises:
        InvalidRequest: the text has such a stretch.
    """
    if len(text) > LONGEST_MATCH and (at := _find(_ONE_KIND, text, _BLOCK)) is not None:
        raise InvalidRequest(
            f"{field} has {_BLOCK:,} characters without a break from character {at:,} on (no whitespace, nothing"
            " else, or letters and spaces only), too long a word for the tokenizer: put newlines into it",
            field=field,
        )
    if len(text) > SHORT_TEXT and pre_tokenizer in _SLOW_PATTERNS:
        pattern, what = _SLOW_PATTERNS[pre_tokenizer]
        if (at := _find(pattern, text, _SLOW_BLOCK)) is not None:
            raise InvalidRequest(
                f"{field} has {_SLOW_BLOCK} {what} in a row from character {at:,} on, for which this model's"
                " tokenizer takes too long: break them up",
                field=field,
            )


def _find(pattern: re.Pattern[str], text: str, size: int) -> int | None:
    """Where a block of `size` characters begins that matches; its time is linear, and that of a search is not."""
    for start in range(0, len(text) - size + 1, size):
        if pattern.fullmatch(text, start, start + size):
            return start
    return None
