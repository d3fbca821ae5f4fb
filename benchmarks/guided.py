"""What guides cost: ``python benchmarks/guided.py [--quick] [--model PATH]``.

Eight slots generate, in turn without guides and with them, and the table says how many tokens per second each way
gives. A guide costs least where the model wants what the guide allows ("allowed"). It costs
most where each token is refused and another one is chosen ("refused"), as with random weights and a schema.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from models import Shape, benchmark_model

import poolinfer

_SLOTS = 8
_SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 1000}
#: The options of each way to generate.
_WAYS: dict[str, dict[str, Any]] = {
    "free": {},
    "allowed": {"regex": r"(.|\n)*"},
    "refused": {"response_format": _SCHEMA},
}


def speed(pool: poolinfer.Pool, tokens: int, **options: Any) -> float:
    """Tokens per second of eight answers at a time; prompts are short, so that few of them are computed."""
    asked = [
        poolinfer.Raw(f"{n}", max_tokens=tokens, ignore_eos=True, seed=n, **options) for n in range(_SLOTS)
    ]
    began = time.perf_counter()
    replies = list(pool.map(asked))
    return sum(reply.usage.completion_tokens for reply in replies) / (time.perf_counter() - began)


def main() -> None:
    """Measure in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model, and few rounds")
    parser.add_argument("--model", type=Path, help="another model's GGUF file")
    given = parser.parse_args()
    small = Shape(layers=2, width=256) if given.quick else None
    model = given.model or benchmark_model(small)
    rounds, tokens = (3, 32) if given.quick else (7, 64)
    for temperature in (0.0, 0.8):
        found: dict[str, list[float]] = {way: [] for way in _WAYS}
        with poolinfer.Pool(str(model), slots=_SLOTS, n_ctx=512) as pool:
            for options in _WAYS.values():
                speed(pool, 4, temperature=temperature, **options)
            for _ in range(rounds):
                for way, options in _WAYS.items():
                    found[way].append(speed(pool, tokens, temperature=temperature, **options))
        free = found["free"]
        for way, speeds in found.items():
            share = statistics.median(mine / plain for mine, plain in zip(speeds, free, strict=True))
            print(
                f"temperature {temperature}: {way:8} {statistics.median(speeds):8.1f} tokens/s {share:7.1%}"
            )


if __name__ == "__main__":
    main()
