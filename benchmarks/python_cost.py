"""What Python costs beside the engine: the time of a lane's steps, less the time inside llama.cpp.

``python benchmarks/python_cost.py [--quick] [--tokens 200] [--json PATH] [--docs]``

One thread asks for 1 and then for 16 answers at a time. Only steps without prompt tokens are measured. A
step's time runs to the beginning of the next step, less the time inside llama.cpp's decode and inside the choice of
tokens. The difference between steps of 16 tokens and of one, divided by 15, is the cost of a token; the
rest is the cost of a step. Figures are medians over all steps, so that other processes on the machine hardly show.
``sampled.py`` measures the same from outside.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import llama_cpp.llama_cpp as native
from c_api import end_tokens, open_model
from models import benchmark_model
from output import options, publish, table

import poolinfer
from poolinfer._engine.lane.lane import Lane
from poolinfer._engine.llama.llama_context import LlamaContext
from poolinfer._engine.llama.llama_sampler import LlamaSampler

MANY = 16


@dataclass
class Meter:
    """Measures the steps of lanes.

    Attributes:
        steps: for each step without prompt tokens: number of tokens, seconds in all, seconds in llama.cpp's decode,
            seconds to choose tokens.
    """

    steps: list[tuple[int, float, float, float]] = field(default_factory=list)

    def install(self) -> Callable[[], None]:
        """Measure every lane from now on; returns a function that ends the measurement."""
        kept: Any = Lane._step, LlamaContext.decode, LlamaSampler.sample
        began = engine = chosen = 0.0
        tokens = prompt = 0

        def step(lane: Any) -> None:
            nonlocal began, engine, chosen, tokens, prompt
            now = time.perf_counter()
            if began and tokens and lane.counters.prompt_tokens == prompt:
                self.steps.append((tokens, now - began, engine, chosen))
            began, engine, chosen, tokens, prompt = now, 0.0, 0.0, 0, lane.counters.prompt_tokens
            kept[0](lane)

        def decode(context: Any, batch: Any) -> None:
            nonlocal engine
            api = context._api
            context._api = timed = _TimedBindings(api)
            try:
                kept[1](context, batch)
            finally:
                context._api = api
                engine += timed.seconds

        def sample(sampler: Any, logits: Any) -> int:
            nonlocal chosen, tokens
            before = time.perf_counter()
            token: int = kept[2](sampler, logits)
            chosen += time.perf_counter() - before
            tokens += 1
            return token

        names = (Lane, "_step", step), (LlamaContext, "decode", decode), (LlamaSampler, "sample", sample)
        for (owner, name, new), _ in zip(names, kept, strict=True):
            setattr(owner, name, new)

        def undo() -> None:
            for (owner, name, _), old in zip(names, kept, strict=True):
                setattr(owner, name, old)

        return undo

    def beside(self, tokens: int) -> tuple[float, float, float]:
        """Return medians of steps of so many tokens: seconds in all, in Python, and to choose tokens."""
        found = [
            (all_, all_ - engine - chosen, chosen) for n, all_, engine, chosen in self.steps if n == tokens
        ]
        if not found:
            raise RuntimeError(f"no step had {tokens} tokens")
        step, beside, chosen = (median(column) for column in zip(*found, strict=True))
        return step, beside, chosen


class _TimedBindings:
    """Stands for the llama.cpp bindings and measures the seconds inside ``llama_decode``."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self.seconds = 0.0

    def llama_decode(self, context: Any, batch: Any) -> Any:
        """Call ``llama_decode`` and add up its time."""
        before = time.perf_counter()
        code = self._api.llama_decode(context, batch)
        self.seconds += time.perf_counter() - before
        return code


def measure(model: Path, tokens: int) -> dict[str, float]:
    """Return what Python costs per step and per token, in microseconds, and its share of a step."""
    bias = None
    if model == Path(poolinfer.demo_model()):  # the benchmark's model never ends by itself
        with open_model(model, vocab_only=True) as opened:
            bias = dict.fromkeys(end_tokens(native.llama_model_get_vocab(opened)), -100.0)
    found = {}
    for calls in (1, MANY):
        meter = Meter()
        undo = meter.install()
        with poolinfer.Pool(model, slots=MANY, n_ctx=512) as pool:
            requests = [
                poolinfer.Raw(f"{n} The", max_tokens=tokens, temperature=0, logit_bias=bias)
                for n in range(calls)
            ]
            for call in [pool.submit(request) for request in requests]:
                call.result()
        undo()
        found[calls] = meter.beside(calls)
    (_, one, _), (step, many, chosen) = found[1], found[MANY]
    token = (many - one) / (MANY - 1)
    return {
        "step_us": (one - token) * 1e6,
        "token_us": token * 1e6,
        "choice_us": chosen / MANY * 1e6,
        "share": many / step,
        "step_ms": step * 1e3,
    }


def main() -> int:
    """Measure and print."""
    parser = options(__doc__)
    parser.add_argument("--tokens", type=int, default=200, help="tokens of an answer (default: 200)")
    arguments = parser.parse_args()
    models = {"tiny": Path(poolinfer.demo_model())}
    if not arguments.quick:
        models["0.6 B"] = benchmark_model()
    found = {name: measure(path, arguments.tokens if name == "tiny" else 60) for name, path in models.items()}
    lines = [
        ["model", "step ms", "Python per step us", "per token us", "share of a step", "to choose a token us"]
    ]
    lines += [
        [
            name,
            f"{one['step_ms']:.2f}",
            f"{one['step_us']:.0f}",
            f"{one['token_us']:.1f}",
            f"{one['share']:.1%}",
            f"{one['choice_us']:.0f}",
        ]
        for name, one in found.items()
    ]
    publish("python_cost", table(lines), found, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
