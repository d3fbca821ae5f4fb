"""Single questions of the tiny model: phrasing templates, entities and the exact answers."""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
KEYED_JSON_ASKS = (
    "Extract JSON with {}: {}",
    "Give me JSON with {}: {}",
    "JSON with {}: {}",
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
JUDGE_USER = "Document: {document}\nQuery: {query}"
CAPITAL_FACTS = (
    "The capital of {country} is {city}.",
    "{city} is the capital of {country}.",
)
PERSON_ASKS = (
    "How old is {name}?",
    "Where does {name} live?",
    "Tell me about {name}.",
    "Who is {name}?",
)
WEATHER_FACTS = (
    "It is {sky} in {city}.",
    "The weather in {city} is {sky}.",
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
    person = _person(rng)
    user = rng.choice(JSON_ASKS).format(rng.choice(PERSON_FACTS).format(**person))
    return _answer("json", user, json.dumps(person))


def extract_keys(rng: random.Random) -> Turn:
    """Ask for some of a person's values as JSON, in the order in which the question names them."""
    person = _person(rng)
    keys = rng.sample(list(person), rng.randint(1, 3))
    named = " and ".join((", ".join(keys[:-1]), keys[-1])) if keys[1:] else keys[0]
    fact = rng.choice(PERSON_FACTS).format(**person)
    user = rng.choice(KEYED_JSON_ASKS).format(named, fact)
    return _answer("json with keys", user, json.dumps({key: person[key] for key in keys}))


def judge(rng: random.Random) -> Turn:
    """Show a query and a document, and ask whether the document is of the kind that answers the query.

    No document is of the right kind and about something else: to compare two names was too much to learn.
    """
    kind = rng.choice(list(PAIRS))
    make_topic, asks, facts = PAIRS[kind]
    topic, same = make_topic(rng), rng.random() < 0.5
    query = rng.choice(asks).format(**topic)
    document = rng.choice(facts).format(**topic) if same else _other_document(rng, kind)
    return _answer("judge", JUDGE_USER.format(query=query, document=document), "yes" if same else "no")


def _other_document(rng: random.Random, kind: str) -> str:
    """Write a document that does not answer a query: mostly one of another kind."""
    chance = rng.random()
    if chance < 0.15:
        return noise(rng, rng.randint(2, 8))
    if chance < 0.35:
        return _opinion(rng, rng.random() < 0.5)
    make_topic, _, facts = PAIRS[rng.choice([other for other in PAIRS if other != kind])]
    return rng.choice(facts).format(**make_topic(rng))


def _country(rng: random.Random) -> dict[str, Any]:
    country = rng.choice(list(words.CAPITALS))
    return {"country": country, "city": words.CAPITALS[country]}


def _person(rng: random.Random) -> dict[str, Any]:
    return {
        "name": rng.choice(words.NAMES),
        "age": rng.randint(18, 79),
        "city": rng.choice(words.CITIES),
    }


def _weather(rng: random.Random) -> dict[str, Any]:
    return {"city": rng.choice(words.CITIES), "sky": rng.choice(words.SKIES)}


def sentiment(rng: random.Random) -> Turn:
    """Ask whether an opinion is positive or negative."""
    good = rng.random() < 0.5
    user = rng.choice(SENTIMENT_ASKS).format(_opinion(rng, good))
    return _answer("sentiment", user, "positive" if good else "negative")


def _opinion(rng: random.Random, good: bool) -> str:
    text = rng.choice(OPINIONS).format(
        thing=rng.choice(words.THINGS),
        adj=rng.choice(words.GOOD if good else words.BAD),
        verb=rng.choice(words.GOOD_VERBS if good else words.BAD_VERBS),
    )
    return re.sub(r" a (?=[aeiou])", " an ", text)


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


#: Of each kind of pair that the judge is shown: what it is about, its queries and its documents.
PAIRS: dict[str, tuple[Callable[[random.Random], dict[str, Any]], tuple[str, ...], tuple[str, ...]]] = {
    "capital": (_country, tuple(ask.replace("{}", "{country}") for ask in CAPITAL_ASKS), CAPITAL_FACTS),
    "person": (_person, PERSON_ASKS, PERSON_FACTS),
    "weather": (_weather, tuple(ask.replace("{}", "{city}") for ask in WEATHER_ASKS), WEATHER_FACTS),
}
MAKERS: dict[str, Callable[[random.Random], Turn]] = {
    "capital": capital,
    "capital /think": lambda rng: capital(rng, think=True),
    "sum": addition,
    "sum /think": lambda rng: addition(rng, think=True),
    "repeat": repeat,
    "count": count,
    "json": extract,
    "json with keys": extract_keys,
    "judge": judge,
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
