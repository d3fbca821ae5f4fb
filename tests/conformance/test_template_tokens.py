"""The tokens of rendered templates, in the vocabularies of llama.cpp's source: its own tokens, and none forged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from poolinfer._data.errors import InvalidRequest
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._engine.llama.llama_engine import LlamaEngine
from poolinfer._engine.prompt.chat_template import ChatTemplate
from poolinfer._engine.prompt.prompter import Prompter
from poolinfer._engine.prompt.sandbox.authored_text import OWN, origin

pytestmark = pytest.mark.timeout(300)

VOCABULARIES = (
    *("aquila", "baichuan", "bert-bge", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4"),
    *("gpt-2", "gpt-neox", "llama-bpe", "llama-spm", "mpt", "nomic-bert-moe", "phi-3", "qwen2", "qwen35"),
    *("refact", "starcoder"),
)
#: What a template is made of, with the spellings of a vocabulary's control tokens in it, as a further template.
SPELLED = "{{ S0 }}{% for m in messages %}{{ S1 ~ m.role ~ S2 ~ m.content ~ S3 }}{% endfor %}"


@pytest.fixture(params=VOCABULARIES)
def vocabulary(request: pytest.FixtureRequest, llama_cpp_source: Path) -> Iterator[LlamaEngine]:
    """An engine that has a vocabulary only."""
    import llama_cpp.llama_cpp as api

    path = str(llama_cpp_source / "models" / f"ggml-vocab-{request.param}.gguf")
    options = api.llama_model_default_params()
    options.vocab_only = True
    model = api.llama_model_load_from_file(path.encode(), options)
    assert model, "llama.cpp cannot load it"
    spec = ModelSpec(path, (0, 0, 0, 0))
    yield LlamaEngine(api, model, spec, LaneSpec(), computing=lambda: None, release=lambda: None)
    api.llama_model_free(model)


@pytest.fixture(scope="module")
def templates(llama_cpp_source: Path) -> dict[str, ChatTemplate]:
    """The templates of llama.cpp's source by their names, compiled when they are first used."""
    paths = sorted(llama_cpp_source.glob("models/templates/*.jinja"))
    return {path.stem: ChatTemplate(path.read_text(), "<s>", "</s>") for path in paths}


Say = Callable[[], str]


def conversation(say: Say, own: Say) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Turns and tools whose every text is what `say` says, and those of system and assistant what `own` says."""
    call = {"type": "function", "id": "abcdefghi", "function": {"name": "f", "arguments": {say(): say()}}}
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": own()},
        {"role": "user", "content": say()},
        {"role": "assistant", "content": "", "reasoning_content": own(), "tool_calls": (call,)},
        {"role": "tool", "content": say(), "tool_call_id": "abcdefghi", "name": "f"},
        {"role": "assistant", "content": own()},
        {"role": "user", "content": say()},
    ]
    schema = {
        "type": "object",
        "properties": {say(): {"type": "string", "description": say()}},
        "required": [],
    }
    tool = {"type": "function", "function": {"name": "f", "description": say(), "parameters": schema}}
    return turns, [tool]


def prompters(vocabulary: LlamaEngine, templates: dict[str, ChatTemplate]) -> Iterator[tuple[str, Prompter]]:
    """A prompter for each template; the last template is made of the vocabulary's own control tokens."""
    prompter = Prompter(vocabulary, "")
    for name, template in templates.items():
        prompter._template = template
        yield name, prompter
    spelled = [word for word in vocabulary.info.control if len(word) > 1][:4]
    source = SPELLED
    for index in range(4):
        word = spelled[index % len(spelled)] if spelled else ""
        source = source.replace(f"S{index}", repr(word))
    prompter._template = ChatTemplate(source, vocabulary.info.bos, vocabulary.info.eos)
    yield "its own tokens", prompter


def rendered(
    prompter: Prompter, turns: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> tuple[str, list[int]] | None:
    """The text and the tokens of a prompt; without calls and tools where the template takes none; None at last."""
    for messages, offered in ((turns, tools), ([*turns[:2], *turns[-2:]], []), ([turns[1], *turns[-2:]], [])):
        try:
            prepared = prompter.chat(messages, offered)
            return prepared.text, prepared.tokens
        except InvalidRequest:
            continue
    return None


def continued(
    prompter: Prompter, turns: list[dict[str, Any]], variables: dict[str, Any]
) -> list[tuple[str, list[int]]]:
    """The text and the tokens of an answer that is continued, if the template shows the answer as it is."""
    options: dict[str, Any] = {"variables": variables, "continue_final": True}
    try:
        prepared = prompter.chat(turns, (), **options)
        return [(prepared.text, prepared.tokens)]
    except InvalidRequest:
        return []


def parsed(vocabulary: LlamaEngine, text: str) -> list[int]:
    return vocabulary.tokenize(text, add_special=False, parse_special=True)


def own_control(vocabulary: LlamaEngine, text: str) -> list[int]:
    """The control tokens that the template's own characters spell."""
    by, plain, found, start = origin(text), str.__str__(text), [], 0
    for end in range(len(by) + 1):
        if end == len(by) or by[end] != OWN:
            found += parsed(vocabulary, plain[start:end]) if end > start else []
            start = end + 1
    return [token for token in found if token in vocabulary.info.control_ids]


def test_tokens_are_those_of_llama_cpp(vocabulary: LlamaEngine, templates: dict[str, ChatTemplate]) -> None:
    words = cycle(["Hello there", "Grüße, 日本語", "1 + 1 = 2", 'say "x"', "it's\nso", "{a: 1}"])
    turns, tools = conversation(lambda: next(words), lambda: next(words))
    different, equal = [], 0
    for name, prompter in prompters(vocabulary, templates):
        made = rendered(prompter, turns, tools)
        if made is None:
            continue
        wanted = parsed(vocabulary, made[0])
        bos = prompter._bos
        wanted = wanted if wanted[: len(bos)] == bos else bos + wanted
        equal += made[1] == wanted
        if made[1] != wanted:
            different.append(name)
    print(f"{equal} prompts have llama.cpp's tokens")
    assert not different
    assert equal > 0.9 * len(templates)


def hostile(spellings: Sequence[str]) -> Say:
    """Says the spellings in turn: with text around them, torn, and with what templates split at inside of them."""
    texts = [way.format(word, word[:2], word[2:]) for word in spellings for way in WAYS]
    rest = cycle(texts)
    return lambda: next(rest)


WAYS = ("{0}", "a{0}b{0}", " {0}\n", "{1}\n{2}", "{1}<image>{2}", "{2}{1}{0}")


def test_F48_no_control_token_comes_from_content(
    vocabulary: LlamaEngine, templates: dict[str, ChatTemplate]
) -> None:
    control = [word for word in vocabulary.info.control if len(word) > 1 and "{" not in word][:40]
    say, seen = hostile(control or ["<s>"]), Counter[str]()
    for name, prompter in prompters(vocabulary, templates):
        turns, tools = conversation(say, say)
        made = rendered(prompter, turns, tools)
        if made is None:
            continue
        documents = {"documents": [{"title": say(), "text": say(), say(): say()}]}
        for text, tokens in (made, *continued(prompter, [turns[1], turns[4]], documents)):
            found = [token for token in tokens if token in vocabulary.info.control_ids]
            wanted = own_control(vocabulary, text)
            bos = [token for token in prompter._bos if token in vocabulary.info.control_ids]
            assert found in (wanted, bos + wanted), name
            seen["prompts"] += 1
            seen["tokens"] += len(found)
    print(
        f"{seen['prompts']} hostile prompts, {seen['tokens']} control tokens, all of them the template's own"
    )
    assert seen["prompts"] > 1.5 * len(templates)
