"""Every chat template of llama.cpp's source, with eleven kinds of conversations, beside transformers.

What transformers cannot render, or renders without what the caller said, is compared with its rendering of the same
conversation written in another way. `pytest -s` shows how many of each there are, and which.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from poolinfer._checks.budgets import WorkBudget
from poolinfer._checks.messages import check_messages
from poolinfer._checks.tools import check_tools
from poolinfer._data.errors import InvalidRequest
from poolinfer._engine.prompt.chat_template import ChatTemplate

Turns = list[dict[str, Any]]
#: Renders by transformers: a template, turns and a kind; None where it fails.
Render = Callable[[str, Turns, "Kind"], "str | None"]


class Kind(NamedTuple):
    """A kind of conversation."""

    turns: Turns
    tools: list[dict[str, Any]] = []  # noqa: RUF012
    ask: bool = True
    continued: bool = False


def say(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def tool(name: str) -> dict[str, Any]:
    city = {"type": "string", "description": 'Where: "Zürich" <b>'}
    schema = {"type": "object", "properties": {"city": city, "n": {"type": "integer"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "description": "Tells it.", "parameters": schema}}


def call(name: str, key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "id": key, "function": {"name": name, "arguments": arguments}}


def result(key: str, name: str, content: str) -> dict[str, Any]:
    return say("tool", content, name=name, tool_call_id=key)


TOOLS = [tool("get_weather"), tool("get_time")]
NESTED = {"city": 'Qxcity <é> "q" it\'s', "n": 2, "deep": {"a": [1, None, True, 1.5]}}
ASK = say("user", "How is the weather?")
WEATHER = say("assistant", None, tool_calls=[call("get_weather", "abcdefgh1", NESTED)])
BOTH = [call("get_weather", "abcdefgh1", NESTED), call("get_time", "abcdefgh2", {"city": "Oslo"})]
PARTS = [{"type": "text", "text": "Qxone"}, {"type": "text", "text": " Qxtwo"}]
BRIEF = say("system", "Be brief. ")
HI, FINE = say("user", "Hi"), say("assistant", "Fine.")
ANSWERS = [result("abcdefgh1", "get_weather", "3 degrees"), result("abcdefgh2", "get_time", "12:00")]
THOUGHTS = [
    say("assistant", "2.", reasoning_content="One and one."),
    say("user", "2+2?"),
    say("assistant", "4.", reasoning_content="Two and two."),
]
KINDS = {
    "plain": Kind([say("user", 'Hello <b>, it\'s "me"\n')]),
    "system": Kind([BRIEF, HI]),
    "several turns": Kind(
        [BRIEF, HI, say("assistant", " Hello! "), HI, say("assistant", "Fine."), say("user", "A\n\nb")]
    ),
    "parts": Kind([say("user", PARTS)]),
    "tools": Kind([BRIEF, ASK], TOOLS),
    "calls": Kind([ASK, WEATHER], TOOLS),
    "results": Kind([ASK, WEATHER, result("abcdefgh1", "get_weather", '{"t": 3}')], TOOLS),
    "several calls": Kind(
        [ASK, say("assistant", "", tool_calls=BOTH), *ANSWERS, say("assistant", "So 3."), HI], TOOLS
    ),
    "reasoning": Kind([HI, *THOUGHTS, say("user", "Good")]),
    "no generation prompt": Kind([BRIEF, HI, say("assistant", "Hello!")], ask=False),
    "continued": Kind([say("user", "Tell me a tale"), say("assistant", "Once upon a ")], continued=True),
}


@cache
def ours(source: str) -> ChatTemplate:
    return ChatTemplate(source, "<s>", "</s>")


def render(source: str, kind: Kind) -> str | None:
    """What we render, of a request as a caller gives it."""
    turns, tools = check_messages(kind.turns, WorkBudget()), check_tools(kind.tools, WorkBudget())
    options: dict[str, Any] = {"add_generation_prompt": kind.ask, "continue_final": kind.continued}
    try:
        return str.__str__(ours(source).render(turns, tools, **options))
    except InvalidRequest:
        return None


@pytest.fixture(scope="module")
def theirs(llama_cpp_source: Path) -> Render:
    """What transformers renders."""
    module = pytest.importorskip("transformers.utils.chat_template_utils")

    def render(source: str, turns: Turns, kind: Kind) -> str | None:
        ask = kind.ask and not kind.continued
        try:
            texts, _ = module.render_jinja_template(
                [copy.deepcopy(turns)],
                tools=kind.tools or None,
                chat_template=source,
                continue_final_message=kind.continued,
                add_generation_prompt=ask,
                bos_token="<s>",
                eos_token="</s>",
            )
        except Exception:
            return None
        return str(texts[0])

    return render


@pytest.fixture(scope="module")
def sources(llama_cpp_source: Path) -> dict[str, str]:
    """The templates of llama.cpp's source by their names."""
    found = {
        path.stem: path.read_text() for path in sorted(llama_cpp_source.glob("models/templates/*.jinja"))
    }
    assert len(found) >= 70
    return found


def ways(turns: Turns) -> Iterator[Turns]:
    """Other ways to write a conversation: what says the same, and more templates understand."""
    for content, as_text, merged in product(("", None), (False, True), (False, True)):
        found: Turns = json.loads(json.dumps(turns))
        for turn in found:
            if isinstance(turn["content"], list):
                turn["content"] = "".join(part["text"] for part in turn["content"])
            if turn.get("tool_calls"):
                turn["content"] = turn["content"] or content
            for one in turn.get("tool_calls", ()) if as_text else ():
                arguments = one["function"]["arguments"]
                one["function"]["arguments"] = json.dumps(arguments, ensure_ascii=False)
        if merged and found[0]["role"] == "system":
            found[1]["content"] = found[0]["content"] + "\n\n" + found[1]["content"]
            del found[0]
        yield found


def is_garbled(text: str, name: str) -> bool:
    """Whether a rendering lacks what the caller said, or shows ``None`` or the data of parts in its place."""
    if name == "parts":
        return "Qxone" not in text or "'text'" in text or '"text"' in text
    # Functions' arguments hold one None of their own, which some templates show in Python's way.
    return "Qxcity" not in text or "None" in text.replace("1, None, True", "")


@pytest.mark.parametrize("name", KINDS)
def test_renderings_are_those_of_transformers(name: str, sources: dict[str, str], theirs: Render) -> None:
    kind = KINDS[name]
    found: dict[str, list[str]] = {}
    for template, source in sources.items():
        wanted, text = theirs(source, kind.turns, kind), render(source, kind)
        if text == wanted:
            case = "neither renders" if text is None else "equal"
        elif text is None:
            case = "only transformers renders"
        elif wanted is not None and not is_garbled(wanted, name):
            case = "different"
        else:
            others = [
                other for turns in ways(kind.turns) if (other := theirs(source, turns, kind)) is not None
            ]
            case = "equal when written otherwise" if text in others else "different"
            if not others:
                case = "only we render"
        found.setdefault(case, []).append(template)
    print(f"\n{name}: {dict(Counter({case: len(names) for case, names in found.items()}))}")
    for case, names in found.items():
        if case != "equal":
            print(f"  {case}: {', '.join(names)}")
    assert "different" not in found, found["different"]
    assert "only transformers renders" not in found, found["only transformers renders"]
    assert len(found["equal"]) + len(found.get("equal when written otherwise", ())) > 0.9 * len(sources) - 5
