"""Held-out questions: phrasings with entities that the training never shows together."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tasks
import words
from chat import GET_WEATHER, Message, Tool
from data import Chat, random_system

TURNS_PER_TASK = {
    "capital": 30,
    "capital /think": 12,
    "sum": 30,
    "sum /think": 14,
    "repeat": 40,
    "count": 24,
    "json": 30,
    "json with keys": 30,
    "sentiment": 20,
    "hello": 16,
}
NAME_QUESTIONS, WEATHER_QUESTIONS, OTHER_WITH_TOOL, LONG_CHATS = 20, 20, 14, 16
JUDGE_QUESTIONS = 60
SINGLE_TURN_SHARE = 0.6


@dataclass(frozen=True)
class Question:
    """A chat that ends with a question, and the exact answer to it."""

    task: str
    messages: list[Message]
    answer: str
    tools: list[Tool] | None = None
    tagged: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the question as plain JSON values."""
        record: dict[str, Any] = {
            "task": self.task,
            "messages": self.messages,
            "answer": self.answer,
        }
        if self.tools:
            record["tools"] = self.tools
        if self.tagged:
            record["template"] = "tagged"
        return record


def plain_messages(chat: Chat) -> list[Message]:
    """Return a chat's messages with the system prompt, as a caller would send them."""
    head = [] if chat.system is None else [{"role": "system", "content": chat.system}]
    return head + [{"role": m["role"], "content": m["content"]} for m in chat.messages]


def start_chat(rng: random.Random, turns: int, tools: list[Tool] | None = None, tagged: bool = False) -> Chat:
    """Start a chat with one of the three kinds of system prompt and some turns before."""
    chat = Chat(rng, random_system(rng, 15 if tools else 60), tools, tagged=tagged)
    for _ in range(turns):
        chat.add_turn()
    return chat


def history_turns(rng: random.Random) -> int:
    """Return how many turns come before a question, often none."""
    return 0 if rng.random() < SINGLE_TURN_SHARE else rng.randint(1, 9)


def plain_question(rng: random.Random, task: str) -> Question:
    """Make a held-out question that needs nothing but its own turn."""
    turn = tasks.make(task, rng, held_out=True)
    chat = start_chat(rng, history_turns(rng))
    chat.add("user", turn.user)
    return Question(task, plain_messages(chat), turn.answer)


def name_question(rng: random.Random, between: int | None = None) -> Question:
    """Make a chat that tells a name, does other things and asks for the name."""
    while True:
        name, ask = rng.choice(words.NAMES), rng.choice(tasks.NAME_ASKS)
        if tasks.is_held_out(f"{name} {ask}"):
            break
    chat = start_chat(rng, 0)
    chat.tell_name(name, rng.choice(tasks.NAME_TELLS))
    for _ in range(rng.randint(1, 8) if between is None else between):
        task = rng.choice(list(TURNS_PER_TASK))
        turn = tasks.make(task, rng)
        chat.add("user", turn.user)
        chat.add("assistant", turn.answer)
    chat.add("user", ask)
    task = "name" if between is None else "name, long chat"
    return Question(task, plain_messages(chat), f"Your name is {name}.")


def weather_question(rng: random.Random, answered: bool, tagged: bool = False) -> Question:
    """Make a held-out weather question; when answered, the tool's result is there already."""
    turns = rng.randint(1, 4) if rng.random() < 0.3 else 0
    chat = start_chat(rng, turns, [GET_WEATHER], tagged)
    before = len(chat.messages)
    while True:
        chat.add_weather(held_out=True)
        if not answered or len(chat.messages) == before + 4:
            break
        del chat.messages[before:]
    last = before + (3 if answered else 1)
    answer = chat.messages[last]["content"]
    del chat.messages[last:]
    task = ("tagged " if tagged else "") + ("tool answer" if answered else "tool call")
    return Question(task, plain_messages(chat), answer, [GET_WEATHER], tagged)


def judge_question(rng: random.Random) -> Question:
    """Make a held-out pair of query and document, as the template for reranking shows it."""
    turn = tasks.make("judge", rng, held_out=True)
    chat = Chat(rng)
    chat.add("user", turn.user)
    return Question("judge", plain_messages(chat), turn.answer)


def other_with_tool(rng: random.Random) -> Question:
    """Make a held-out question that needs no tool, in a chat that offers one."""
    turn = tasks.make(rng.choice(["capital", "sum", "repeat", "json"]), rng, held_out=True)
    chat = start_chat(rng, rng.choice([0, 0, 1, 3]), [GET_WEATHER])
    chat.add("user", turn.user)
    return Question("other, tool offered", plain_messages(chat), turn.answer, [GET_WEATHER])


def long_question(rng: random.Random) -> Question:
    """Make a held-out question after a history that fills most of the context."""
    chat = start_chat(rng, 16)
    if rng.random() < 0.5:
        turn = tasks.Turn("count", "Count from 1 to 60.", ", ".join(map(str, range(1, 61))), "")
    else:
        turn = tasks.make(rng.choice(["capital", "repeat", "json", "sum"]), rng, held_out=True)
    chat.add("user", turn.user)
    return Question("long chat", plain_messages(chat), turn.answer)


def count_to_sixty(rng: random.Random) -> Question:
    """Ask for the longest answer on its own."""
    chat = start_chat(rng, 0)
    chat.add("user", "Count from 1 to 60.")
    return Question("count", plain_messages(chat), ", ".join(map(str, range(1, 61))))


def held_out_questions(seed: int = 2024) -> list[Question]:
    """Return the evaluation's questions: no chat and no single task's last turn twice."""
    rng = random.Random(seed)
    plans: list[tuple[int, Callable[[], Question]]] = [
        (amount, lambda task=task: plain_question(rng, task)) for task, amount in TURNS_PER_TASK.items()
    ]
    plans += [
        (2, lambda: count_to_sixty(rng)),
        (NAME_QUESTIONS, lambda: name_question(rng)),
        (4, lambda: name_question(rng, between=13)),
        (WEATHER_QUESTIONS, lambda: weather_question(rng, answered=False)),
        (WEATHER_QUESTIONS, lambda: weather_question(rng, answered=True)),
        (OTHER_WITH_TOOL, lambda: other_with_tool(rng)),
        (LONG_CHATS, lambda: long_question(rng)),
        (WEATHER_QUESTIONS, lambda: weather_question(rng, answered=False, tagged=True)),
        (WEATHER_QUESTIONS, lambda: weather_question(rng, answered=True, tagged=True)),
        (JUDGE_QUESTIONS, lambda: judge_question(rng)),
    ]
    found: dict[str, Question] = {}
    for amount, make_one in plans:
        wanted = len(found) + amount
        while len(found) < wanted:
            question = make_one()
            asked: object = question.messages, question.tools, question.tagged
            if question.task in TURNS_PER_TASK and question.task != "count":
                asked = question.task, question.messages[-1]["content"]
            found.setdefault(repr(asked), question)
    return list(found.values())
