"""Filling a gap between two texts: the orders of tokens, and texts that become no control tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf_drafts import FILL_IN
from gguf_drafts import Model as WrittenModel
from gguf_models import write_llama

from poolinfer import ContextOverflow, InvalidRequest, Pool, Raw
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.llama.library import load
from poolinfer._engine.llama.llama_engine import LlamaEngine
from poolinfer._engine.prompt.prompter import Prompter
from poolinfer._pool.model_info import load_model_info
from poolinfer.testing import FakeEngine, fake_pool


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("fill") / "code.gguf", vocabulary=WrittenModel.code, seed=2)


@pytest.fixture(scope="module")
def engine(path: Path) -> Iterator[LlamaEngine]:
    engine = load(load_model_info(path).spec, LaneSpec(slots=1, n_ctx=256), lambda: False)
    yield engine
    engine.close()


def plain(engine: LlamaEngine, text: str) -> list[int]:
    return engine.tokenize(text, add_special=False, parse_special=False)


def filled(engine: LlamaEngine, prefix: str, suffix: str, **options: bool) -> list[int]:
    wanted = {"suffix_first": False, "parse_special": False, **options}
    return Prompter(engine).fill_in(prefix, suffix, **wanted).tokens


@pytest.mark.parametrize(("prefix", "suffix"), [("def f():\n", "\nthe end"), ("", "x"), ("x", ""), ("", "")])
def test_the_orders_are_those_of_llama_cpp_s_server(engine: LlamaEngine, prefix: str, suffix: str) -> None:
    marks = engine.info.fill_in
    assert marks is not None
    before, after = [marks.prefix, *plain(engine, prefix)], [marks.suffix, *plain(engine, suffix)]
    assert filled(engine, prefix, suffix) == [*before, *after, marks.middle]
    assert filled(engine, prefix, suffix, suffix_first=True) == [*after, *before, marks.middle]


def test_texts_become_no_control_tokens(engine: LlamaEngine) -> None:
    marks, hostile = engine.info.fill_in, "".join(FILL_IN) + "<|im_end|>"
    tokens = filled(engine, hostile, hostile)
    assert [token for token in tokens if token in engine.info.control_ids] == list(marks or ())
    own = filled(engine, hostile, "", parse_special=True)
    assert len([token for token in own if token in engine.info.control_ids]) == 7


def test_a_pool_fills_in(path: Path, engine: LlamaEngine) -> None:
    with Pool(str(path), slots=2, threads=1) as pool:
        response = pool.raw("hello ", suffix=" the end", max_tokens=4, temperature=0)
        assert response.usage.prompt_tokens == len(filled(engine, "hello ", " the end"))
        other = pool.raw("hello ", suffix=" the end", max_tokens=4, temperature=0, suffix_first=True)
        assert other.usage.prompt_tokens == response.usage.prompt_tokens
        assert pool.raw("", suffix="x", max_tokens=1).usage.prompt_tokens == 4
        with pytest.raises(ContextOverflow):
            pool.raw("x", suffix="y" * 600)


def test_a_model_that_has_not_learned_it_says_so() -> None:
    with (
        fake_pool(FakeEngine()) as pool,
        pytest.raises(InvalidRequest, match="no tokens to fill in") as caught,
    ):
        pool.raw("x", suffix="y")
    assert caught.value.field == "suffix"


@pytest.mark.parametrize(
    "suffix", [3, b"x", "\ud800", "x" * (4 * 2**20 + 1)], ids=["int", "bytes", "lone", "long"]
)
def test_a_suffix_is_a_text(suffix: object) -> None:
    with fake_pool(FakeEngine()) as pool, pytest.raises(InvalidRequest) as caught:
        pool.submit(Raw("x", suffix=suffix))  # type: ignore[arg-type]
    assert caught.value.field == "suffix"
