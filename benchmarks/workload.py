"""What every engine is given: the same chats, as text and as tokens, written once to a JSON file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import llama_cpp.llama_cpp as native
from jinja2.sandbox import ImmutableSandboxedEnvironment
from lowlevel import chat_template, end_tokens, open_model, tokenize

CONSONANTS = "bcdfghjklmnprstvwxyz"
VOWELS = "aeiou"


@dataclass(frozen=True)
class Workload:
    """Chats to answer and how.

    Attributes:
        model: path of the GGUF file.
        texts: one user turn per chat.
        prompts: the same chats rendered with the model's template and tokenised.
        max_tokens: tokens to generate for each.
        slots: chats that run at a time.
        threads: CPU threads that an engine may use.
        n_ctx: context of one chat, in tokens.
        banned: tokens that must not be generated (the end tokens of a model that would stop early).
    """

    model: str
    texts: list[str]
    prompts: list[list[int]]
    max_tokens: int
    slots: int
    threads: int
    n_ctx: int
    banned: list[int]

    def save(self, path: Path) -> None:
        """Write the workload for a child process."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Workload:
        """Read a workload that `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def random_word(rng: random.Random) -> str:
    """Return a word of two or three syllables; the random model spells its beginning with one token."""
    length = rng.choice((4, 4, 4, 5))
    return "".join(rng.choice(VOWELS if place % 2 else CONSONANTS) for place in range(length))


def make_text(index: int, target: int, count: Callable[[str], int]) -> str:
    """Return a text of its own for every index that counts at least ``target`` tokens, and hardly more."""
    rng = random.Random(f"chat {index}")
    text = random_word(rng)
    while count(text) < target:
        text += " " + random_word(rng)
    return text


def renderer(model: native.llama_model_p) -> Callable[[str], str]:
    """Return the function that renders one user turn with the model's own template."""
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        chat_template(model)
    )

    def render(text: str) -> str:
        messages = [{"role": "user", "content": text}]
        return template.render(messages=messages, tools=None, add_generation_prompt=True)

    return render


def make_workload(
    model_path: Path,
    *,
    chats: int,
    prompt_tokens: int,
    max_tokens: int,
    slots: int,
    threads: int,
    n_ctx: int = 512,
    ban_end: bool = False,
) -> Workload:
    """Return ``chats`` unique chats of about ``prompt_tokens`` tokens each.

    Args:
        ban_end: forbid the end tokens, for a trained model that would end its answers early.
    """
    with open_model(model_path, vocab_only=True) as model:
        vocab = native.llama_model_get_vocab(model)
        render = renderer(model)
        texts = [
            make_text(index, prompt_tokens, lambda text: len(tokenize(vocab, render(text))))
            for index in range(chats)
        ]
        prompts = [tokenize(vocab, render(text)) for text in texts]
        banned = end_tokens(vocab) if ban_end else []
    return Workload(str(model_path), texts, prompts, max_tokens, slots, threads, n_ctx, banned)
