"""What the tokenizer does to the stack, and what is refused before it runs. Named by `docs/reliability.md`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gguf_models import write_llama

from poolinfer import ContextOverflow, InvalidRequest, Model, Pool, Raw
from poolinfer._engine.prompt import text_size
from poolinfer._engine.prompt.text_size import LONGEST_MATCH, check_size, check_stretches, stack_for
from poolinfer.testing import FakeEngine, fake_pool

# Loads a model of each kind and tokenizes texts of one kind of character, which overflowed a stack of 8 MiB.
DEEP = """
import sys, threading
sys.path.insert(0, {tests!r})
from gguf_models import write_llama
from poolinfer import Model
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.llama import library

threading.stack_size(64 * 1024)
for pre in {pres!r}:
    kind = "whitespace" if pre == "whitespace" else "gpt2"
    path = write_llama({folder!r} + "/" + pre, **{{"tokenizer.ggml.pre": pre, "tokenizer.ggml.model": kind}})
    engine = library.load(Model.load(path).spec, LaneSpec(), lambda: False)
    for unit in {units!r}:
        text = (unit * {length})[:{length}]
        tokens = engine.tokenize(text, add_special=False, parse_special=False)
        assert b"".join(map(engine.piece, tokens)).decode() == text, (pre, unit)
    engine.close()
print("survived")
"""

WAIT = 20.0

#: One of each group of pre-tokenizers that llama.cpp knows and that cut by the same patterns, where `std::regex`
#: matches some of them. (The others are compared with characters, and take no stack.)
PRES = (
    *("default", "minicpm5", "deepseek-llm", "deepseek-coder", "deepseek-v3", "spark2_5", "youtu", "falcon"),
    *(
        "jais-2",
        "poro-chat",
        "viking",
        "tekken",
        "exaone-moe",
        "gpt-4o",
        "granite-embed-multi-97m",
        "tiny_aya",
    ),
    *("bailingmoe", "seed-coder", "ufakzeka", "afmoe", "whitespace"),
)
OTHERS = (
    "llama-bpe",
    "gpt-2",
    "starcoder",
    "qwen2",
    "qwen35",
    "kimi-k2",
    "laguna",
    "superbpe",
    "chameleon",
    "gemma4",
)


def _deep(folder, *, pres, units, length):
    here = str(Path(__file__).parents[3] / "tests" / "helpers")
    return DEEP.format(tests=here, folder=str(folder), pres=pres, units=units, length=length)


@pytest.mark.parametrize("pres", [PRES[0::3], PRES[1::3], PRES[2::3]], ids=["1", "2", "3"])
def test_a_prompt_of_one_kind_of_character_does_not_overflow_the_stack(pres, tmp_path, run_script):
    source = _deep(tmp_path, pres=pres, units=("acgt", "!"), length=30_000)
    ended = run_script(source)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_nor_does_the_longest_match_that_is_allowed(tmp_path, run_script):
    source = _deep(tmp_path, pres=("tekken",), units=("acgt",), length=LONGEST_MATCH)
    ended = run_script(source)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_nor_where_the_pre_tokenizer_needs_no_stack(tmp_path, run_script):
    source = _deep(tmp_path, pres=OTHERS, units=("acgt", "!"), length=30_000)
    ended = run_script(source)
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize(
    "text",
    [
        "a" * (LONGEST_MATCH + 1),
        "The end. " + "acgt" * LONGEST_MATCH,
        "1\x1c" * LONGEST_MATCH,
        " \n" * LONGEST_MATCH,
        "\u0e01" * LONGEST_MATCH + " ",
        "no stop and no comma " * (LONGEST_MATCH // 10),
        "!" * (LONGEST_MATCH // 2) + "\n" * (LONGEST_MATCH // 2 + 1),
        "." * (LONGEST_MATCH // 3) + "It is said. " * LONGEST_MATCH,
    ],
    ids=["letters", "dna", "separators", "blanks", "thai", "words", "signs, newlines", "a line of dots"],
)
def test_a_stretch_that_no_stack_holds_is_refused(text):
    with pytest.raises(InvalidRequest, match=r"prompt has 131,072 characters without a break") as refused:
        check_stretches("prompt", text, "")
    assert refused.value.field == "prompt"
    assert not isinstance(refused.value, ContextOverflow)


def test_long_prose_and_shorter_stretches_are_not_refused():
    prose = "It was a bright cold day in April, and the clocks were striking thirteen.\n"
    for text in (prose * 20_000, '{"key": [1, 2, 3], "more": null}' * 40_000, "a" * LONGEST_MATCH):
        check_stretches("prompt", text, "")
        assert stack_for(text) <= 600 * 2**20


@pytest.mark.parametrize(("pre", "unit"), [("deepseek-llm", " "), ("superbpe", "1")])
def test_what_the_tokenizer_would_take_minutes_for_is_refused(pre, unit, tmp_path):
    path = write_llama(tmp_path / "model.gguf", context_length=8192, **{"tokenizer.ggml.pre": pre})
    with Model.load(path) as model, Pool(model, n_ctx=8192, slots=1) as pool:
        for text in (unit * 40_000 + "a", "a word, " * 2000 + unit * 2000 + "a"):
            with pytest.raises(InvalidRequest, match=r"512 (blanks|digits) in a row"):
                pool.embed(text, timeout=WAIT)
        assert pool.raw(f"a word {unit * 400} ", max_tokens=1).usage.completion_tokens == 1


def test_F43_a_prompt_that_can_never_fit_is_refused_before_it_is_tokenized(monkeypatch):
    seen: list[int] = []
    tokenize = FakeEngine.tokenize
    monkeypatch.setattr(
        FakeEngine,
        "tokenize",
        lambda self, text, **how: seen.append(len(text)) or tokenize(self, text, **how),
    )
    longest = FakeEngine().token_bytes
    with fake_pool() as pool:
        for ask in (pool.raw, pool.chat, pool.embed):
            with pytest.raises(ContextOverflow) as refused:
                ask("word " * 800_000)
            assert refused.value.n_ctx == 2048
            assert refused.value.n_prompt >= 4_000_000 // longest
        assert max(seen, default=0) < 1000
        # As many bytes as may just fit are looked at.
        with pytest.raises(ContextOverflow, match=f"prompt has {2048 * longest} tokens"):
            pool.raw("a" * (2048 * longest))
        assert max(seen) == 2048 * longest


def test_a_vocabulary_without_a_bound_is_tokenized_whatever_its_length(monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(FakeEngine, "token_bytes", None)
    check_size("input", "word " * 100_000, engine, 16)


@pytest.mark.filterwarnings("ignore:n_ctx is 2048")
def test_without_room_for_a_stack_a_call_fails_alone(monkeypatch, tiny):
    monkeypatch.setattr(text_size, "_BYTES_A_CHARACTER", 2**50)
    with Pool(tiny, n_ctx=2048) as pool:
        call = pool.submit(Raw("word " * 1000, max_tokens=1))
        with pytest.raises(Exception, match="no memory for a stack"):
            call.result(20)
        assert pool.raw("hello", max_tokens=1).usage.completion_tokens == 1


def test_the_size_of_a_prompt_is_looked_at_in_no_time():
    began = time.thread_time()
    check_size("prompt", "word, and " * 400_000, FakeEngine(), 1_000_000)
    assert time.thread_time() - began < 1
