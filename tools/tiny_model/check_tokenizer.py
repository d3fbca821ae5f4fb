"""Check that llama.cpp splits text into exactly the tokens that the model was trained on."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import words
from chat import render
from evaluate import GreedyModel
from questions import held_out_questions
from tokenizer import BUILD_FOLDER, SPECIAL, Encoder

PIECES = (
    *"abz AZ09  \n\n\t\r.,'!?-_{}[]\":;éñçßÄ中日本語👋🏽🇫🇷½²٣\u00a0\u3000\u200b",
    "'s",
    "'LL",
    "'re",
    " '",
    " \n ",
    "   ",
    *words.HELLOS.values(),
    *SPECIAL,
)


def sample_texts(amount: int, seed: int = 5) -> list[str]:
    """Return the evaluation's prompts and random mixtures of awkward pieces."""
    rng = random.Random(seed)
    texts = [render(question.messages, question.tools, question.tagged) for question in held_out_questions()]
    for _ in range(amount):
        texts.append("".join(rng.choice(PIECES) for _ in range(rng.randint(1, 40))))
    return texts


def main() -> None:
    """Read the command line, compare and stop with an error where anything differs."""
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=root / "src/poolinfer/data/tiny.gguf")
    parser.add_argument("--out", type=Path, default=BUILD_FOLDER)
    parser.add_argument("--amount", type=int, default=5000)
    args = parser.parse_args()
    model, encoder = GreedyModel(args.model), Encoder.load(args.out / "tokenizer.json")
    texts = sample_texts(args.amount)
    for text in texts:
        tokens = model.tokenize(text)
        if tokens != encoder.encode(text):
            raise SystemExit(f"different tokens for {text!r}")
        if b"".join(map(model.piece, tokens)) != text.encode("utf-8"):
            raise SystemExit(f"the tokens do not give back {text!r}")
    print(f"{len(texts)} texts give the same tokens")


if __name__ == "__main__":
    main()
