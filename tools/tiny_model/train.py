"""Train the tiny model from scratch: tokenizer, then transformer, in about 20 minutes."""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

import data
from model import Config, TinyModel
from restore import read_tokenizer, read_weights
from tokenizer import BUILD_FOLDER, Encoder, train_tokenizer

SHORT_ROWS, SHORT_LENGTH = 24, 256
LONG_ROWS, LONG_LENGTH = 6, 1024
LONG_EVERY = 6
JUDGE_ROWS, JUDGE_LENGTH = 64, 48
WARM_UP = 200


def learning_rate(step: int, steps: int, peak: float, warm_up: int = WARM_UP) -> float:
    """Return the rate of a step: linear warm-up, then a cosine down to nearly nothing."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def make_batch(
    rng: random.Random, encoder: Encoder, step: int, judge_share: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return token ids and loss weights.

    Every few steps the rows are as long as the context, and in a share of the others they are single pairs
    of query and document.
    """
    long = step % LONG_EVERY == LONG_EVERY - 1
    count, length = (LONG_ROWS, LONG_LENGTH) if long else (SHORT_ROWS, SHORT_LENGTH)
    if not long and rng.random() < judge_share:
        rows = [data.judge_row(rng, encoder, JUDGE_LENGTH + 1) for _ in range(JUDGE_ROWS)]
    else:
        rows = [data.training_row(rng, encoder, length + 1) for _ in range(count)]
    ids = torch.tensor([row[0] for row in rows], dtype=torch.long)
    weights = torch.tensor([row[1] for row in rows])
    return ids, weights[:, 1:]


def loss_of(model: TinyModel, ids: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted loss to minimise and the mean losses over the answers and over the verdicts."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids[:, :-1]).float()
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    flat = weights.flatten()
    answers, verdicts = flat == data.ANSWER_WEIGHT, flat == data.JUDGE_WEIGHT
    return (losses * flat).sum() / flat.sum(), losses[answers].mean(), losses[verdicts].mean()


def load_encoder(folder: Path, init: Path | None) -> Encoder:
    """Read the tokenizer of an exported model or of an output folder, training it first where there is none."""
    path = folder / "tokenizer.json"
    folder.mkdir(parents=True, exist_ok=True)
    if init is not None and init.suffix == ".gguf":
        read_tokenizer(init).save(str(path))
    elif not path.exists():
        train_tokenizer(data.tokenizer_runs(6000, seed=1)).save(str(path))
    return Encoder.load(path)


def save(model: TinyModel, folder: Path) -> None:
    """Write the weights so that a reader never sees half a file."""
    temporary = folder / "model.pt.new"
    torch.save(model.state_dict(), temporary)
    temporary.replace(folder / "model.pt")


def train(
    folder: Path, steps: int, peak: float, seed: int, init: Path | None, warm_up: int, judge_share: float
) -> None:
    """Run the training and keep the latest weights in the folder."""
    torch.set_num_threads(2)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    encoder = load_encoder(folder, init)
    model = TinyModel(Config())
    if init is not None:
        exported = init.suffix == ".gguf"
        model.load_state_dict(read_weights(init) if exported else torch.load(init, weights_only=True))
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
    began = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak, warm_up)
        ids, weights = make_batch(rng, encoder, step, judge_share)
        loss, answer_loss, verdict_loss = loss_of(model, ids, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 0 or step == steps - 1:
            spent = time.monotonic() - began
            print(
                f"{step} {spent:.0f}s loss {loss:.4f} answers {answer_loss:.5f} verdicts {verdict_loss:.4f}",
                flush=True,
            )
        if step % 50 == 49 or step == steps - 1:
            save(model, folder)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=BUILD_FOLDER)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--peak", type=float, default=3e-3)
    parser.add_argument("--judge-share", type=float, default=0.0, help="share of batches for the judge alone")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--init", type=Path, help="a GGUF file or a model.pt to start from")
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help="steps until the rate is at its peak")
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    train(args.out, args.steps, args.peak, args.seed, args.init, args.warm_up, args.judge_share)


if __name__ == "__main__":
    main()
