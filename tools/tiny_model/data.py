"""Synthetic chats for training, and the held-out questions for the evaluation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tasks
import words
from chat import GET_WEATHER, Message, Tool, render_message, system_text, tool_call_text
from tokenizer import SPECIAL, Encoder

TASK_WEIGHTS: dict[str, float] = {
    "capital": 1.6,
    "capital /think": 0.4,
    "sum": 1.6,
    "sum /think": 0.6,
    "repeat": 3.2,
    "count": 0.7,
    "json": 1.6,
    "json with keys": 2.4,
    "sentiment": 0.9,
    "hello": 1.3,
    "small talk": 0.4,
    "unknown": 0.4,
    "name": 1.6,
    "weather": 0.4,
}
WEATHER_WEIGHT_WITH_TOOLS = 3.0
TOOL_SHARE = 0.3
TAGGED_SHARE = 0.5
JUDGE_SHARE = 0.08
SPOILED_SHARE = 0.04
PLAIN_HISTORY_SHARE = 0.3
ANSWER_WEIGHT, OTHER_WEIGHT, UNTRAINED_WEIGHT = 1.0, 0.1, 0.0
# A verdict is one token in many, so it weighs more than a token of a sentence.
JUDGE_WEIGHT, OTHER_JUDGE_WEIGHT = 8.0, 0.02
WEATHER_DESCRIPTIONS = (
    "Get the weather for a city.",
    "Get the current weather.",
    "Look up the weather in a city.",
)


@dataclass
class Chat:
    """A chat in the making."""

    rng: random.Random
    system: str | None = None
    tools: list[Tool] | None = None
    name: str | None = None
    tagged: bool = False
    judge: bool = False
    messages: list[Message] = field(default_factory=list)

    def add(self, role: str, content: str, trained: bool = True) -> None:
        """Append a message; an untrained answer is shown but not learnt."""
        self.messages.append({"role": role, "content": content, "trained": trained})

    def add_turn(self, held_out: bool = False) -> None:
        """Append a question of some task and its answer."""
        if self.judge:
            turn = tasks.make("judge", self.rng, held_out)
            self.add("user", turn.user)
            self.add("assistant", turn.answer)
            return
        weights = dict(TASK_WEIGHTS)
        if self.tools:
            weights["weather"] = WEATHER_WEIGHT_WITH_TOOLS
        task = self.rng.choices(list(weights), list(weights.values()))[0]
        if task == "name":
            self._add_name_turn()
        elif task == "weather":
            self.add_weather(held_out)
        else:
            self._add_plain_turn(tasks.make(task, self.rng, held_out))

    def _add_plain_turn(self, turn: tasks.Turn) -> None:
        self.add("user", turn.user)
        chance = self.rng.random()
        if chance < SPOILED_SHARE:
            self.add("assistant", tasks.noise(self.rng, self.rng.randint(1, 12)), trained=False)
        elif turn.plain != turn.answer and chance < PLAIN_HISTORY_SHARE:
            self.add("assistant", turn.plain, trained=False)
        else:
            self.add("assistant", turn.answer)

    def _add_name_turn(self) -> None:
        if self.rng.random() < (0.3 if self.name else 0.7):
            self.tell_name(self.rng.choice(words.NAMES), self.rng.choice(tasks.NAME_TELLS))
            return
        asks = [
            ask for ask in tasks.NAME_ASKS if self.name is None or not tasks.is_held_out(f"{self.name} {ask}")
        ]
        self.add("user", self.rng.choice(asks or list(tasks.NAME_ASKS)))
        self.add("assistant", f"Your name is {self.name}." if self.name else tasks.UNKNOWN_NAME)

    def tell_name(self, name: str, template: str) -> None:
        """Append the turn in which the user tells a name."""
        self.name = name
        self.add("user", template.format(name))
        self.add("assistant", f"Nice to meet you, {name}.")

    def add_weather(self, held_out: bool = False) -> None:
        """Append a question about the weather, the tool call and mostly its result."""
        while True:
            city = self.rng.choice(words.CITIES)
            user = self.rng.choice(tasks.WEATHER_ASKS).format(city)
            if tasks.is_held_out(user) == held_out:
                break
        self.add("user", user)
        if not self.tools:
            self.add("assistant", tasks.NO_WEATHER)
            return
        self.add("assistant", tool_call_text("get_weather", {"city": city}, self.tagged))
        if self.rng.random() < 0.75:
            result = f"{self.rng.randint(-9, 40)} C, {self.rng.choice(words.SKIES)}"
            self.add("tool", result)
            self.add("assistant", f"It is {result} in {city}.")


def weather_tools(rng: random.Random) -> list[Tool]:
    """Return the weather tool, mostly in its plain form, else with small changes."""
    if rng.random() < 0.6:
        return [GET_WEATHER]
    city: dict[str, Any] = {"type": "string"}
    if rng.random() < 0.3:
        city["description"] = "City name"
    function = dict(GET_WEATHER["function"])
    if rng.random() < 0.4:
        function["description"] = rng.choice(WEATHER_DESCRIPTIONS)
    function["parameters"] = {
        "type": "object",
        "properties": {"city": city},
        "required": ["city"],
    }
    tools: list[Tool] = [{"type": "function", "function": function}]
    if rng.random() < 0.5:
        function = {key: function[key] for key in sorted(function)}
        function["parameters"] = {
            key: function["parameters"][key] for key in ("properties", "required", "type")
        }
        tools = [{"function": function, "type": "function"}]
    return tools


def random_system(rng: random.Random, longest: int) -> str | None:
    """Return no system prompt, the common one, sentences, or up to that many words."""
    kind = rng.random()
    if kind < 0.35:
        return None
    if kind < 0.55:
        return words.SENTENCES[0]
    if kind < 0.7:
        return " ".join(rng.choice(words.SENTENCES) for _ in range(rng.randint(1, 4)))
    return tasks.noise(rng, rng.randint(1, longest))


def new_chat(rng: random.Random, longest_system: int = 60) -> Chat:
    """Start a chat: one of a judge, or one with a random system prompt and sometimes with a tool."""
    if rng.random() < JUDGE_SHARE:
        return Chat(rng, judge=True)
    tools = weather_tools(rng) if rng.random() < TOOL_SHARE else None
    longest = longest_system // 4 if tools else longest_system
    tagged = tools is not None and rng.random() < TAGGED_SHARE
    return Chat(rng, random_system(rng, longest), tools, tagged=tagged)


def encode_messages(chat: Chat, encoder: Encoder) -> Iterator[tuple[list[int], list[float]]]:
    """Yield the ids of each turn and how much each of them counts in the loss."""
    system = system_text(chat.system, chat.tools, chat.tagged)
    answer_weight = JUDGE_WEIGHT if chat.judge else ANSWER_WEIGHT
    if system is not None:
        ids = encoder.encode_message("system", system)
        yield list(ids), [OTHER_WEIGHT] * len(ids)
    for message in chat.messages:
        ids = encoder.encode_message(*render_message(message))
        weights = [OTHER_JUDGE_WEIGHT if chat.judge else OTHER_WEIGHT] * len(ids)
        if message["role"] == "assistant":
            first, last = 1 + len(encoder.assistant), len(ids) - len(encoder.newline)
            weight = answer_weight if message["trained"] else UNTRAINED_WEIGHT
            weights[first:last] = [weight] * (last - first)
        yield list(ids), weights


def training_row(rng: random.Random, encoder: Encoder, length: int) -> tuple[list[int], list[float]]:
    """Return one chat cut to a length, with the weight of each id in the loss."""
    chat = new_chat(rng, longest_system=length // 4 if rng.random() < 0.7 else 10)
    ids: list[int] = []
    weights: list[float] = []
    parts = encode_messages(chat, encoder)
    while len(ids) < length:
        part = next(parts, None)
        if part is None:
            shown = len(chat.messages)
            chat.add_turn()
            later = Chat(rng, messages=chat.messages[shown:], judge=chat.judge)
            parts = encode_messages(later, encoder)
            continue
        ids += part[0]
        weights += part[1]
    return ids[:length], weights[:length]


def judge_row(rng: random.Random, encoder: Encoder, length: int) -> tuple[list[int], list[float]]:
    """Return one pair of query and document with its verdict, filled up with what is not learnt."""
    chat = Chat(rng, judge=True)
    chat.add_turn()
    parts = list(encode_messages(chat, encoder))
    ids = [token for part, _ in parts for token in part] + [encoder.end] * length
    weights = [weight for _, part in parts for weight in part] + [UNTRAINED_WEIGHT] * length
    return ids[:length], weights[:length]


def tokenizer_runs(count: int, seed: int) -> Iterator[str]:
    """Yield runs of plain ASCII text from chats, for training the tokenizer.

    Other scripts are left out on purpose: their characters then span several tokens.
    """
    rng = random.Random(seed)
    numbers = " " + ", ".join(map(str, range(1, 61)))
    cities = " " + " ".join((*words.CAPITALS, *words.CITIES))
    for position in range(count):
        if position % 120 == 0:
            yield f"{numbers}, {cities}"
        chat = Chat(rng, rng.choice(words.SENTENCES))
        if rng.random() < 0.1:
            chat.tools = weather_tools(rng)
        for _ in range(6):
            chat.add_turn()
        turns = map(render_message, chat.messages)
        text = "".join(f"{role}\n{content}\n" for role, content in turns)
        text = f"system\n{system_text(chat.system, chat.tools)}\n{text}"
        for special in SPECIAL:
            text = text.replace(special, "\0")
        yield from ("".join(c for c in run if c.isascii()) for run in text.split("\0"))
