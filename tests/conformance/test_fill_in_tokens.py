"""Filling gaps in the vocabularies of llama.cpp's source: the tokens are those that its server makes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolinfer._data.errors import InvalidRequest
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._engine.llama.llama_engine import LlamaEngine
from poolinfer._engine.prompt.prompter import Prompter

WORDS = ("def f(x):", "\n", "    ", "return", "ß", "日本", " the", "hello", "x = 1;", "  ", "🙂", "<b>", "# ")


@pytest.fixture
def vocabulary(
    request: pytest.FixtureRequest, llama_cpp_source: Path
) -> Iterator[tuple[Any, Any, LlamaEngine]]:
    import llama_cpp.llama_cpp as api

    path = str(llama_cpp_source / "models" / f"ggml-vocab-{request.param}.gguf")
    options = api.llama_model_default_params()
    options.vocab_only = True
    model = api.llama_model_load_from_file(path.encode(), options)
    assert model, "llama.cpp cannot load it"
    spec = ModelSpec(path, (0, 0, 0, 0))
    engine = LlamaEngine(api, model, spec, LaneSpec(), computing=lambda: None, release=lambda: None)
    yield api, api.llama_model_get_vocab(model), engine
    api.llama_model_free(model)


def of_server(api: Any, vocab: Any, engine: LlamaEngine, prefix: str, suffix: str, *, spm: bool) -> list[int]:
    """What `format_infill` of llama.cpp's server makes, without further files."""
    before, after = (
        engine.tokenize(text, add_special=False, parse_special=False) for text in (prefix, suffix)
    )
    before.insert(0, api.llama_vocab_fim_pre(vocab))
    after.insert(0, api.llama_vocab_fim_suf(vocab))
    first, second = (after, before) if spm else (before, after)
    if api.llama_vocab_get_add_bos(vocab):
        first.insert(0, api.llama_vocab_bos(vocab))
    return [*first, *second, api.llama_vocab_fim_mid(vocab)]


@pytest.mark.parametrize("vocabulary", ["deepseek-coder", "refact", "starcoder"], indirect=True)
def test_tokens_are_those_of_the_server(vocabulary: tuple[Any, Any, LlamaEngine]) -> None:
    api, vocab, engine = vocabulary
    assert engine.info.fill_in is not None
    assert set(engine.info.fill_in) <= engine.info.control_ids
    prompter, rng = Prompter(engine), random.Random(3)
    for _ in range(100):
        prefix, suffix = ("".join(rng.choices(WORDS, k=rng.randrange(20))) for _ in range(2))
        for spm in (False, True):
            found = prompter.fill_in(prefix, suffix, suffix_first=spm, parse_special=False)
            assert found.tokens == of_server(api, vocab, engine, prefix, suffix, spm=spm)


@pytest.mark.parametrize("vocabulary", ["deepseek-coder", "refact", "starcoder"], indirect=True)
def test_spelled_marks_stay_text(vocabulary: tuple[Any, Any, LlamaEngine]) -> None:
    _, _, engine = vocabulary
    hostile = "".join(engine.spelling(token) for token in sorted(engine.info.control_ids)[:50])
    found = Prompter(engine).fill_in(hostile, hostile, suffix_first=False, parse_special=False)
    bos = found.tokens[0] != (engine.info.fill_in or (0,))[0]
    assert sum(token in engine.info.control_ids for token in found.tokens) == 3 + bos


@pytest.mark.parametrize("vocabulary", ["llama-spm", "gpt-2", "phi-3", "qwen2"], indirect=True)
def test_a_vocabulary_without_marks_is_refused_by_name(vocabulary: tuple[Any, Any, LlamaEngine]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Prompter(vocabulary[2]).fill_in("a", "b", suffix_first=False, parse_special=False)
    assert caught.value.field == "suffix"
