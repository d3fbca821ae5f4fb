"""Byte-level BPE tokenizer of the tiny model: GPT-2 pre-tokenisation, 1024 tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

BUILD_FOLDER = Path(__file__).resolve().parents[2] / "build/tiny_model"
VOCAB_SIZE = 1024
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
USER_DEFINED = ("<think>", "</think>", "<tool_call>", "</tool_call>")
SPECIAL = CONTROL + USER_DEFINED
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def around_merges(merges: BPE) -> Tokenizer:
    """Return a tokenizer that cuts text as GPT-2 does before it merges bytes."""
    tokenizer = Tokenizer(merges)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GPT2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_tokenizer(runs: Iterable[str]) -> Tokenizer:
    """Train the merges on runs of plain text that hold no special token."""
    tokenizer = around_merges(BPE())
    trainer = BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(runs, trainer)
    if tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise ValueError(f"trained {tokenizer.get_vocab_size()} tokens, wanted {VOCAB_SIZE}")
    return tokenizer


def merges_of(tokenizer: Tokenizer) -> list[str]:
    """Return the merges as GGUF stores them, the two parts joined by a space."""
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]


class Encoder:
    """Turns the messages of a chat into token ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look up the ids that every message needs."""
        self.tokenizer = tokenizer
        self.start = tokenizer.token_to_id("<|im_start|>")
        self.end = tokenizer.token_to_id("<|im_end|>")
        self.newline = self.encode("\n")
        self.assistant = self.encode("assistant\n")
        self.encode_message = lru_cache(maxsize=20000)(self._encode_message)

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Read a tokenizer that was saved as JSON."""
        return cls(Tokenizer.from_file(str(path)))

    def encode(self, text: str) -> list[int]:
        """Tokenise text: special tokens alone, each run between two of them as one run."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _encode_message(self, role: str, content: str) -> tuple[int, ...]:
        """Tokenise one whole turn, its end and the newline after it included."""
        body = self.encode(f"{role}\n{content}")
        return (self.start, *body, self.end, *self.newline)
