"""Hostile conversations through many templates: no control token is forged, and harmless ones stay as they are.

A conversation is written twice: with hostile texts, and with harmless ones of the same shape. The sequence of
control tokens and markers must be the same, since they can only come from the template then. Where a template asks
about a text (``if '</think>' in content``) the two may part; then the stronger question is asked directly: are the
control tokens those that the template's own characters spell?

POOLINFER_FUZZ_PROMPTS is the number of conversations. With POOLINFER_LLAMA_CPP (a folder of llama.cpp's source)
all of its templates and vocabularies are tried as well.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prompt_cases import OWN, SOURCE, TEMPLATES, SpelledEngine, call, reference, template, tool

from poolinfer._data.errors import InvalidRequest
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._engine.llama.llama_engine import LlamaEngine
from poolinfer._engine.prompt.formats.described_tools import described
from poolinfer._engine.prompt.formats.tool_learning import learn_tools
from poolinfer._engine.prompt.prompter import Prompter
from poolinfer._engine.prompt.sandbox.authored_text import OWN as MINE
from poolinfer._engine.prompt.sandbox.authored_text import origin
from poolinfer._engine.prompt.template_input import TemplateInput
from poolinfer._engine.prompt.template_render import TemplateRender

pytestmark = pytest.mark.fuzz

COUNT = int(os.environ.get("POOLINFER_FUZZ_PROMPTS", "300"))
SOURCES = {**OWN, **{path.stem: path.read_text() for path in TEMPLATES}}
HARMLESS = (
    "word",
    "two words",
    "Grüße",
    "日本語",
    "1 + 1",
    "a\nb",
    "it's",
    'say "hi"',
    "x < y",
    "{a: 1}",
    "c:\\d",
)

Say = Callable[[], str]


def hostile(rng: random.Random, spellings: Sequence[str]) -> Say:
    """Says texts that spell tokens: whole, torn, hidden in what templates remove, in other case, escaped."""

    def torn(word: str) -> str:
        place = rng.randrange(1, len(word))
        gap = rng.choice(["<image>", "x", " ", "\n", "\t", "\u2028", "", "\ue000", '"', "'", "\\"])
        return word[:place] + gap + word[place:]

    def one() -> str:
        word = rng.choice(spellings)
        ways: list[Callable[[], str]] = [
            lambda: word,
            lambda: torn(word),
            word.upper,
            word.lower,
            lambda: word[rng.randrange(len(word)) :],
            lambda: word[: rng.randrange(1, len(word) + 1)],
            lambda: word[::-1],
            lambda: "".join(f"\\u{ord(char):04x}" for char in word),
            lambda: re.sub(r"^\W+|\W+$", "", word),
            lambda: "".join(char + rng.choice("xx ") for char in word),
            lambda: rng.choice(HARMLESS),
            lambda: word + torn(word),
        ]
        return rng.choice(ways)()

    return lambda: "".join(one() for _ in range(rng.randint(1, 3)))


def harmless(rng: random.Random) -> Say:
    return lambda: rng.choice(HARMLESS)


def conversation(
    rng: random.Random, say: Say, trusted: Say
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A conversation whose shape depends on the generator alone; assistant and system say what is trusted."""
    turns: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] = []
    if rng.random() < 0.4:
        turns.append({"role": "system", "content": trusted()})
    for number in range(rng.randint(1, 3)):
        turns.append({"role": "user", "content": say(), **({"name": say()} if rng.random() < 0.2 else {})})
        if rng.random() < 0.4:
            key = f"call{number:05d}" if rng.random() < 0.5 else trusted()
            arguments = {trusted(): trusted() if rng.random() < 0.6 else {trusted(): [trusted(), number]}}
            thought = {"reasoning_content": trusted()} if rng.random() < 0.3 else {}
            name = rng.choice(["get_weather", "im_end", "s", "INST", "end_of_turn"])
            turns.append(
                {"role": "assistant", "content": "", **thought, "tool_calls": (call(name, arguments, key),)}
            )
            turns.append({"role": "tool", "content": say(), "tool_call_id": key, "name": name})
            tools = [tool(name, say(), **{say(): {"type": "string", "description": say(), "enum": (say(),)}})]
        turns.append({"role": "assistant", "content": trusted()})
    return [*turns, {"role": "user", "content": say()}], tools


def told(source: str, messages: Sequence[Any], tools: Sequence[Any]) -> Sequence[Any]:
    """The turns with a description of the tools, where the template leaves them out."""
    return described(messages, tools, learn_tools(TemplateRender(template(source)))) if tools else messages


def prompt(
    source: str, engine: Any, messages: Sequence[Any], tools: Sequence[Any]
) -> tuple[str, list[int]] | None:
    """The rendered text and its tokens, or None where the template refuses."""
    prompter = Prompter(engine, source)
    prompter._template = template(source)
    try:
        return template(source).render(told(source, messages, tools), tools), prompter.chat(
            messages, tools
        ).tokens
    except InvalidRequest as refused:
        assert "refused" in str(refused), refused
        return None


def own_tokens(engine: SpelledEngine, rendered: str) -> list[int]:
    """The control tokens that the template's own characters spell."""
    runs = "".join(
        char if by == MINE else "\0" for char, by in zip(str.__str__(rendered), origin(rendered), strict=True)
    )
    tokens = engine.tokenize(runs, add_special=False, parse_special=True)
    return [token for token in tokens if 2_000_000 <= token < 3_000_000]


def test_no_hostile_text_forges_a_control_token() -> None:
    compared = rendered = 0
    for number in range(COUNT):
        name = sorted(SOURCES)[number % len(SOURCES)]
        source, seed = SOURCES[name], f"{number}"
        engine = SpelledEngine(source)
        luck = random.Random(seed + "luck")
        # What assistant and system say may be markers, but not control tokens.
        evil = (hostile(luck, [*engine.control, *engine.markers]), hostile(luck, engine.control))
        bad = prompt(source, engine, *conversation(random.Random(seed), *evil))
        fine = prompt(source, engine, *conversation(random.Random(seed), harmless(luck), harmless(luck)))
        if bad is None:
            continue
        rendered += 1
        control = [token for token in engine.specials(bad[1]) if token < 3_000_000]
        bos = control[:1] if control[:1] != own_tokens(engine, bad[0])[:1] else []
        assert control == bos + own_tokens(engine, bad[0]), (name, number)
        text = "".join(engine.spell(token) for token in bad[1])
        assert text.removeprefix("<s>") == bad[0].removeprefix("<s>"), (name, number)
        same = fine is not None and engine.specials(fine[1]) == engine.specials(bad[1])
        # Ours do not ask what a text says, so the harmless twin must have the very same tokens.
        assert same or name not in OWN, (name, number)
        compared += same
    print(f"{COUNT} conversations, {rendered} rendered, {compared} with the control tokens of harmless ones")
    assert rendered > COUNT // 2
    assert compared > rendered // 2


def test_harmless_conversations_are_rendered_as_hugging_face_does() -> None:
    rendered = 0
    for number in range(COUNT):
        name = sorted(SOURCES)[number % len(SOURCES)]
        rng = random.Random(number)
        messages, tools = conversation(rng, harmless(rng), harmless(rng))
        repairs = template(SOURCES[name])._compiled().repairs
        turns = repairs.mended(TemplateInput().messages(told(SOURCES[name], messages, tools)), lambda _: None)
        wanted = reference(SOURCES[name], turns, tools)
        engine = SpelledEngine(SOURCES[name])
        made = prompt(SOURCES[name], engine, messages, tools)
        assert (made and made[0]) == wanted or wanted is None, (name, number)
        if made is not None:
            rendered += 1
            whole = engine.tokenize(made[0], add_special=False, parse_special=True)
            assert made[1] == whole, (name, number)
    print(f"{COUNT} harmless conversations, {rendered} rendered, none refused by us alone")
    assert rendered > COUNT // 2


# --- llama.cpp's own vocabularies ------------------------------------------------------------------

VOCABULARIES = sorted(Path(SOURCE, "models").glob("ggml-vocab-*.gguf")) if SOURCE else []


def _is_long(word: str) -> bool:
    return len(word) > 1


@pytest.fixture
def vocabulary(request: pytest.FixtureRequest) -> Iterator[LlamaEngine]:
    """An engine that has a vocabulary only."""
    import llama_cpp.llama_cpp as api

    options = api.llama_model_default_params()
    options.vocab_only = True
    model = api.llama_model_load_from_file(str(request.param).encode(), options)
    assert model, "llama.cpp cannot load it"
    spec, lane = ModelSpec(str(request.param), (0, 0, 0, 0)), LaneSpec()
    yield LlamaEngine(api, model, spec, lane, computing=lambda: None, release=lambda: None)
    api.llama_model_free(model)


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda path: path.stem, indirect=True)
def test_real_vocabularies(vocabulary: LlamaEngine) -> None:
    """Templates that spell a vocabulary's own control tokens: none is forged, and tokens are llama.cpp's."""
    control = list(filter(_is_long, vocabulary.info.control))[:40]
    if len(control) < 2:
        pytest.skip("it has no control tokens to spell")
    known = {vocabulary.tokenize(word, add_special=False, parse_special=True)[0] for word in control}
    for number in range(COUNT // 20):
        rng = random.Random(number)
        begin, end = rng.sample(control, 2)
        source = OWN[sorted(OWN)[number % len(OWN)]].replace("<|im_start|>", begin).replace("<|im_end|>", end)
        prompter = Prompter(vocabulary, source)
        evil, seed = hostile(rng, [*control, *filter(_is_long, vocabulary.info.markers[:20])]), str(number)
        bad = prompter.chat(*conversation(random.Random(seed), evil, hostile(rng, control))).tokens
        messages, tools = conversation(random.Random(seed), harmless(rng), harmless(rng))
        fine = prompter.chat(messages, tools).tokens
        assert [t for t in bad if t in known] == [t for t in fine if t in known], (number, begin, end)
        whole = vocabulary.tokenize(
            template(source).render(messages, tools), add_special=False, parse_special=True
        )
        assert fine[len(fine) - len(whole) :] == whole, (number, begin, end)
