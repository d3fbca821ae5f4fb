"""The eight workloads, W1 to W8, as data: what is asked, by how many callers at a time.

A workload is written to a JSON file once, so that every engine gets the same tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as native
from c_api import chat_template, end_tokens, open_model, tokenize
from jinja2.sandbox import ImmutableSandboxedEnvironment

CONSONANTS = "bcdfghjklmnprstvwxyz"
VOWELS = "aeiou"
POOLS = ("thread", "process", "prefork")
LANES = ("thread-2x8x1",)
LIST_SIZE = 50
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt, and its tokens where they are known beforehand."""

    text: str
    tokens: list[int] | None = None


@dataclass(frozen=True)
class Workload:
    """What is asked of an engine.

    Attributes:
        name: ``"W1"`` to ``"W8"``.
        title: the workload in words.
        kind: the function of `drive` that runs it.
        engines: names of the engines to run by default.
        headline: the figure that engines are compared by.
        lower: whether a lower headline figure is better.
        model: path of the GGUF file.
        callers: number of threads that make calls.
        slots: number of calls that an engine is to run at a time.
        n_ctx: context of one call, in tokens.
        threads: CPU threads that an engine may use.
        max_tokens: tokens to generate for each prompt.
        prompts: the prompts, in order.
        texts: user turns of conversations, or texts to embed.
        levels: numbers of callers, in a workload that tries several.
        tell_slots: whether a pool is given `slots`; if not, the pool chooses.
        banned: tokens that must not be generated (the end tokens of a model that might stop early).
    """

    name: str
    title: str
    kind: str
    engines: tuple[str, ...]
    headline: str
    lower: bool
    model: str
    callers: int
    slots: int
    n_ctx: int
    threads: int
    max_tokens: int
    prompts: list[Prompt] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    levels: tuple[int, ...] = ()
    tell_slots: bool = False
    banned: list[int] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the workload for a child process."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Workload:
        """Read a workload that `save` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        found["prompts"] = [Prompt(**prompt) for prompt in found["prompts"]]
        return cls(**found)


def renderer(template: str) -> Callable[[Messages], str]:
    """Return the function that renders messages with a model's own template."""
    compiled = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    return lambda messages: compiled.render(messages=messages, tools=None, add_generation_prompt=True)


def template_of(path: str) -> str:
    """Return the chat template of a model file."""
    with open_model(Path(path), vocab_only=True) as model:
        return chat_template(model)


class Writer:
    """Writes texts of a wanted number of tokens, and prompts of them."""

    def __init__(self, model: native.llama_model_p) -> None:
        self._vocab = native.llama_model_get_vocab(model)
        self._render = renderer(chat_template(model))

    def text(self, seed: str, target: int) -> str:
        """Return a text of at least `target` tokens, and hardly more; each seed gives another text."""
        rng = random.Random(seed)
        text = _word(rng)
        while (missing := target - len(tokenize(self._vocab, text))) > 0:
            text += "".join(f" {_word(rng)}" for _ in range(1 + missing // 3))
        return text

    def prompt(self, user: str, system: str = "") -> Prompt:
        """Return a chat of one user turn."""
        messages = [{"role": "system", "content": system}] if system else []
        text = self._render([*messages, {"role": "user", "content": user}])
        return Prompt(text, tokenize(self._vocab, text))

    def plain(self, seed: str, tokens: int) -> Prompt:
        """Return a prompt without a chat template: a text of about so many tokens, to be continued."""
        text = self.text(seed, tokens)
        return Prompt(text, tokenize(self._vocab, text))

    def prompts(self, seed: str, number: int, tokens: int, system: str = "") -> list[Prompt]:
        """Return so many chats, each with a user turn of its own of so many tokens."""
        return [self.prompt(self.text(f"{seed} {index}", tokens), system) for index in range(number)]


def _word(rng: random.Random) -> str:
    """Return a word of two or three syllables; the random model spells its beginning with one token."""
    length = rng.choice((4, 4, 4, 5))
    return "".join(rng.choice(VOWELS if index % 2 else CONSONANTS) for index in range(length))


@dataclass(frozen=True)
class Scale:
    """Sizes of the workloads; the defaults are those of a real run."""

    chats: int = 32
    system: int = 150
    own: int = 95
    alone: int = 240
    out: int = 48
    slots: int = 16
    long: int = 3000
    streams: int = 8
    stream_out: int = 192
    short_calls: int = 200
    conversations: int = 8
    turns: int = 6
    turn: int = 60
    turn_out: int = 24
    embeds: int = 500
    trickle: int = 10
    levels: tuple[int, ...] = (1, 4, 16, 64)
    scaling: int = 64


QUICK = Scale(
    chats=8, system=40, own=16, alone=48, out=8, slots=4, long=256, streams=3, stream_out=224, short_calls=16,
    conversations=2, turns=3, turn=16, turn_out=4, embeds=32, trickle=3, levels=(1, 4, 8), scaling=16,
)  # fmt: skip


def make_workloads(
    model_path: Path, scale: Scale, threads: int, only: set[str], *, ban_end: bool = False
) -> list[Workload]:
    """Return the workloads named in `only`; `ban_end` forbids the model's end tokens."""
    with open_model(model_path, vocab_only=True) as model:
        writer = Writer(model)
        banned = end_tokens(native.llama_model_get_vocab(model)) if ban_end else []
        common = {"model": str(model_path), "threads": threads, "banned": banned}
        return [make(writer, scale, common) for name, make in WORKLOADS.items() if name in only]


def _burst(writer: Writer, scale: Scale, common: dict[str, Any]) -> Workload:
    system = writer.text("system", scale.system)
    return Workload(
        name="W1",
        title=f"burst: {scale.chats} chats at once, {scale.slots} at a time, {scale.system} tokens of system prompt"
        f" shared, {scale.own} of their own, {scale.out} out",
        kind="burst",
        engines=("locked", "fresh", "xllamacpp", "bundled", "bare", *POOLS, *LANES),
        headline="tokens_per_second",
        lower=False,
        callers=scale.chats,
        slots=scale.slots,
        n_ctx=512,
        max_tokens=scale.out,
        prompts=writer.prompts("W1", scale.chats, scale.own, system),
        **common,
    )


def _unshared(writer: Writer, scale: Scale, common: dict[str, Any]) -> Workload:
    return Workload(
        name="W2",
        title=f"burst: {scale.chats} chats at once, {scale.slots} at a time, {scale.alone} tokens of their own,"
        f" {scale.out} out",
        kind="burst",
        engines=("locked", "fresh", "xllamacpp", "bundled", "bare", *POOLS, *LANES, "thread-whole"),
        headline="tokens_per_second",
        lower=False,
        callers=scale.chats,
        slots=scale.slots,
        n_ctx=512,
        max_tokens=scale.out,
        prompts=writer.prompts("W2", scale.chats, scale.alone),
        **common,
    )


def _long(writer: Writer, scale: Scale, common: dict[str, Any]) -> Workload:
    return Workload(
        name="W3",
        title=f"a prompt of {scale.long} tokens arrives among {scale.streams} streams",
        kind="long",
        engines=("xllamacpp", "bundled", *POOLS),
        headline="entering_p99_over_median",
        lower=True,
        callers=scale.streams,
        slots=scale.streams + 1,
        n_ctx=scale.long + 256,
        max_tokens=scale.stream_out,
        prompts=[*writer.prompts("long", 2, scale.long), *writer.prompts("W3", scale.streams, 16)],
        tell_slots=True,
        **common,
    )


def _short(writer: Writer, scale: Scale, common: dict[str, Any]) -> Workload:
    return Workload(
        name="W4",
        title=f"{scale.short_calls} short calls (8 tokens in, 8 out) from {2 * scale.slots} callers",
        kind="burst",
        engines=("locked", "fresh", "xllamacpp", "bundled", "bare", *POOLS, *LANES),
        headline="calls_per_second",
        lower=False,
        callers=2 * scale.slots,
        slots=scale.slots,
        n_ctx=512,
        max_tokens=8,
        prompts=[writer.plain(f"W4 {index}", 8) for index in range(scale.short_calls)],
        **common,
    )


def _conversation(writer: Writer, scale: Scale, common: dict[str, Any]) -> Workload:
    turns = scale.turns + 1  # and one more text: the other first message
    return Workload(
        name="W5",
        title=f"{scale.conversations} conversations of {scale.turns} turns ({scale.turn} tokens in,"
        f" {scale.turn_out} out)",
        kind="conversation",
        engines=("locked", "xllamacpp", "bundled", *POOLS),
        headline="last_turn_over_cold",
        lower=True,
        callers=scale.conversations,
        slots=scale.conversations,
        n_ctx=1024,
        max_tokens=scale.turn_out,
        texts=[writer.text(f"W5 {index}", scale.turn) for index in range(turns * scale.conversations)],
        **common,
    )


def _embed(writer: Writer, scale: Scale, common: dict[str, Any]) -> Workload:
    return Workload(
        name="W6",
        title=f"embeddings of {scale.embeds} texts of 16 tokens, in lists of {LIST_SIZE}",
        kind="embed",
        engines=("locked", "xllamacpp", "bundled", *POOLS),
        headline="texts_per_second",
        lower=False,
        callers=4,
        slots=scale.slots,
        n_ctx=512,
        max_tokens=0,
        texts=[writer.text(f"W6 {index}", 16) for index in range(scale.embeds)],
        **common,
    )


def _trickle(writer: Writer, scale: Scale, common: dict[str, Any]) -> Workload:
    return Workload(
        name="W7",
        title=f"trickle: one call after the other, 64 tokens in, {scale.out} out",
        kind="burst",
        engines=("locked", "fresh", "xllamacpp", "bundled", "bare", *POOLS),
        headline="latency_p50",
        lower=True,
        callers=1,
        slots=1,
        n_ctx=512,
        max_tokens=scale.out,
        prompts=writer.prompts("W7", scale.trickle, 64),
        **common,
    )


def _scaling(writer: Writer, scale: Scale, common: dict[str, Any]) -> Workload:
    most = scale.levels[-1]
    return Workload(
        name="W8",
        title=f"scaling: {', '.join(map(str, scale.levels))} callers (32 tokens in, 24 out)",
        kind="scaling",
        # Without "locked": it runs one call at a time, so it would take longer than all other engines together.
        engines=("xllamacpp", "bundled", *POOLS, "thread-2x8x1"),
        headline=f"tokens_per_second_{most}",
        lower=False,
        callers=most,
        slots=scale.slots,
        n_ctx=512,
        max_tokens=24,
        prompts=writer.prompts("W8", len(scale.levels) * scale.scaling, 24),
        levels=scale.levels,
        **common,
    )


WORKLOADS: dict[str, Callable[[Writer, Scale, dict[str, Any]], Workload]] = {
    "W1": _burst,
    "W2": _unshared,
    "W3": _long,
    "W4": _short,
    "W5": _conversation,
    "W6": _embed,
    "W7": _trickle,
    "W8": _scaling,
}
