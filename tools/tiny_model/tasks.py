"""Single questions of the tiny model: phrasing templates, entities and the exact answers."""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import words

HELD_OUT_SHARE = 8
THINK_SUFFIX = " /think"

CAPITAL_ASKS = (
    "What is the capital of {}?",
    "What's the capital of {}?",
    "Name the capital of {}.",
    "Tell me the capital of {}.",
    "Which city is the capital of {}?",
    "Capital of {}?",
    "Please tell me the capital of {}.",
    "Do you know the capital of {}?",
    "What is the capital city of {}?",
)
SUM_ASKS = (
    "What is {} plus {}?",
    "What is {} + {}?",
    "Add {} and {}.",
    "How much is {} plus {}?",
    "Calculate {} plus {}.",
    "What is the sum of {} and {}?",
    "What's {} plus {}?",
)
REPEAT_ASKS = (
    "Repeat after me: {}",
    "Say this: {}",
    "Repeat: {}",
    "Repeat these words: {}",
    "Please repeat after me: {}",
    "Echo: {}",
)
COUNT_ASKS = (
    "Count from 1 to {}.",
    "Count to {}.",
    "Please count from 1 to {}.",
    "Can you count to {}?",
    "List the numbers from 1 to {}.",
)
JSON_ASKS = (
    "Extract JSON: {}",
    "Extract the data as JSON: {}",
    "Give me JSON: {}",
    "To JSON: {}",
)
PERSON_FACTS = (
    "{name} is {age} years old and lives in {city}.",
    "{name}, {age}, lives in {city}.",
    "{name} from {city} is {age} years old.",
    "{name} lives in {city} and is {age} years old.",
)
SENTIMENT_ASKS = (
    "Is this positive or negative? {}",
    "Positive or negative? {}",
    "What is the sentiment? {}",
    "Sentiment: {}",
    "Is the sentiment positive or negative? {}",
)
OPINIONS = (
    "I {verb} this {thing}.",
    "This {thing} is {adj}.",
    "The {thing} was {adj}.",
    "What a {adj} {thing}!",
    "I {verb} the {thing}.",
    "It is a {adj} {thing}.",
)
HELLO_ASKS = (
    "Say hello in {}.",
    "How do you say hello in {}?",
    "Hello in {}, please.",
    "Translate hello to {}.",
    "What is hello in {}?",
    "Please say hello in {}.",
    "Hello in {}?",
    "Greet me in {}.",
    "Hello in {}.",
    "Say hello to me in {}, please.",
)
NAME_TELLS = (
    "My name is {}.",
    "I am {}.",
    "Call me {}.",
    "Hello, my name is {}.",
    "Hi, I'm {}.",
)
NAME_ASKS = (
    "What is my name?",
    "Who am I?",
    "Do you remember my name?",
    "What's my name?",
    "Tell me my name.",
)
WEATHER_ASKS = (
    "What is the weather in {}?",
    "What's the weather in {}?",
    "How is the weather in {}?",
    "Weather in {}?",
    "Tell me the weather in {}.",
    "What is the weather like in {}?",
)
SMALL_TALK = {
    "Hello": "Hello! How can I help you?",
    "Hello!": "Hello! How can I help you?",
    "Hi": "Hello! How can I help you?",
    "Hi!": "Hello! How can I help you?",
    "Hello.": "Hello! How can I help you?",
    "Thank you.": "You are welcome.",
    "Thanks!": "You are welcome.",
    "Who are you?": "I am poolinfer tiny, a demonstration model.",
    "What are you?": "I am poolinfer tiny, a demonstration model.",
    "What is your name?": "I am poolinfer tiny, a demonstration model.",
    "Goodbye.": "Goodbye!",
    "Bye!": "Goodbye!",
}
UNKNOWN_NAME = "I do not know your name."
NO_WEATHER = "I cannot check the weather."
UNKNOWN = "Sorry, I do not know."


@dataclass(frozen=True)
class Turn:
    """One user text with the exact answer, and that answer without its think block."""

    task: str
    user: str
    answer: str
    plain: str


def is_held_out(key: str) -> bool:
    """Say whether a question text (a phrasing with its entities) is kept out of training."""
    return zlib.crc32(key.encode("utf-8")) % HELD_OUT_SHARE == 0


def _answer(task: str, user: str, plain: str, thought: str | None = None) -> Turn:
    if thought is None:
        return Turn(task, user, plain, plain)
    thinking = f"<think>\n{thought}\n</think>\n\n{plain}"
    return Turn(f"{task} /think", user + THINK_SUFFIX, thinking, plain)


def capital(rng: random.Random, think: bool = False) -> Turn:
    """Ask for the capital of a country."""
    country = rng.choice(list(words.CAPITALS))
    city = words.CAPITALS[country]
    user = rng.choice(CAPITAL_ASKS).format(country)
    thought = f"{country}: {city}" if think else None
    return _answer("capital", user, f"The capital of {country} is {city}.", thought)


def addition(rng: random.Random, think: bool = False) -> Turn:
    """Ask for the sum of two numbers up to 20."""
    left, right = rng.randint(0, 20), rng.randint(0, 20)
    user = rng.choice(SUM_ASKS).format(left, right)
    thought = f"{left} + {right} = {left + right}" if think else None
    return _answer("sum", user, f"{left} plus {right} is {left + right}.", thought)


def repeat(rng: random.Random) -> Turn:
    """Ask for two to five words back."""
    text = " ".join(rng.choice(words.WORDS) for _ in range(rng.randint(2, 5)))
    return _answer("repeat", rng.choice(REPEAT_ASKS).format(text), text)


def count(rng: random.Random) -> Turn:
    """Ask for the numbers from 1 to at most 60."""
    last = rng.randint(1, 60) if rng.random() < 0.6 else rng.randint(1, 20)
    numbers = ", ".join(str(number) for number in range(1, last + 1))
    return _answer("count", rng.choice(COUNT_ASKS).format(last), numbers)


def extract(rng: random.Random) -> Turn:
    """Ask for a person's name, age and city as JSON."""
    person = {
        "name": rng.choice(words.NAMES),
        "age": rng.randint(18, 79),
        "city": rng.choice(words.CITIES),
    }
    user = rng.choice(JSON_ASKS).format(rng.choice(PERSON_FACTS).format(**person))
    return _answer("json", user, json.dumps(person))


def sentiment(rng: random.Random) -> Turn:
    """Ask whether an opinion is positive or negative."""
    good = rng.random() < 0.5
    text = rng.choice(OPINIONS).format(
        thing=rng.choice(words.THINGS),
        adj=rng.choice(words.GOOD if good else words.BAD),
        verb=rng.choice(words.GOOD_VERBS if good else words.BAD_VERBS),
    )
    text = re.sub(r" a (?=[aeiou])", " an ", text)
    user = rng.choice(SENTIMENT_ASKS).format(text)
    return _answer("sentiment", user, "positive" if good else "negative")


def hello(rng: random.Random) -> Turn:
    """Ask for a greeting in a language, many of them in another script."""
    language = rng.choice(list(words.HELLOS))
    return _answer("hello", rng.choice(HELLO_ASKS).format(language), words.HELLOS[language])


def small_talk(rng: random.Random) -> Turn:
    """Say one of a few fixed phrases."""
    user = rng.choice(list(SMALL_TALK))
    return _answer("small talk", user, SMALL_TALK[user])


def unknown(rng: random.Random) -> Turn:
    """Say words that ask for nothing."""
    return _answer("unknown", noise(rng, rng.randint(1, 12)), UNKNOWN)


def noise(rng: random.Random, length: int) -> str:
    """Return a text of that many words without meaning."""
    if rng.random() < 0.15:
        return " ".join([_noise_word(rng)] * length)
    return " ".join(_noise_word(rng) for _ in range(length))


def _noise_word(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.6:
        word = rng.choice(words.WORDS)
    elif kind < 0.9:
        word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 8)))
    else:
        word = str(rng.randint(0, 9999))
    if rng.random() < 0.1:
        word = word.capitalize()
    return word + (rng.choice(".,!?:;") if rng.random() < 0.1 else "")


MAKERS: dict[str, Callable[[random.Random], Turn]] = {
    "capital": capital,
    "capital /think": lambda rng: capital(rng, think=True),
    "sum": addition,
    "sum /think": lambda rng: addition(rng, think=True),
    "repeat": repeat,
    "count": count,
    "json": extract,
    "sentiment": sentiment,
    "hello": hello,
    "small talk": small_talk,
    "unknown": unknown,
}
ALWAYS_TRAINED = frozenset({"small talk", "unknown"})


def make(task: str, rng: random.Random, held_out: bool = False) -> Turn:
    """Make a question of a task, from the training part or from the held-out part."""
    while True:
        turn = MAKERS[task](rng)
        if task in ALWAYS_TRAINED or is_held_out(turn.user) == held_out:
            return turn
