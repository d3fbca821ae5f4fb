"""Models without partial sequence removal, embedding-only and encoder-decoder models, chat without a template."""

from __future__ import annotations

import warnings
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_models import WRITERS, write_llama

from poolinfer import ContextOverflow, EngineError, InvalidRequest, Model, ModelError, Pool, Raw
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.llama import library
from poolinfer._engine.prompt.prompter import Prompter

PROMPTS = [f"{'word ' * (n % 5)}prompt {n}" for n in range(12)]


@pytest.mark.parametrize("kind", ["llama", "mamba", "jamba", "gemma2"])
def test_output_is_right_without_partial_sequence_removal(tmp_path: Path, kind: str) -> None:
    """Recurrent, hybrid and sliding-window models: batched, chunked and recycled, as alone in a fresh context."""
    model = Model.load(WRITERS[kind](tmp_path / f"{kind}.gguf"))
    requests = [Raw(prompt, max_tokens=24, temperature=0) for prompt in PROMPTS]
    alone = []
    for request in requests:
        with Pool(model, slots=1, threads=1, n_ctx=128) as fresh:
            alone.append(fresh.submit(request).result().text)
    with Pool(model, slots=1, threads=1, n_ctx=128) as pool:
        assert [reply.text for reply in pool.map(requests)] == alone
    with Pool(model, slots=4, threads=1, n_ctx=128) as pool:
        batched = [reply.text for reply in pool.map(requests * 2)]
    # Random weights make near-ties likelier than training does; wrong sequences would spoil nearly all.
    assert sum(a == b for a, b in zip(batched, alone * 2, strict=True)) >= len(batched) - 2


@pytest.mark.parametrize("kind", ["mamba", "jamba"])
def test_a_cancelled_neighbour_leaves_no_state(tmp_path: Path, kind: str) -> None:
    model = Model.load(WRITERS[kind](tmp_path / f"{kind}.gguf"))
    with Pool(model, slots=1, threads=1, n_ctx=128) as pool:
        expected = pool.raw("prompt", max_tokens=16, temperature=0).text
        for n in range(10):
            call = pool.stream(Raw("other words " * (n % 4 + 1), max_tokens=48, temperature=0))
            next(iter(call))
            call.cancel()
            assert pool.raw("prompt", max_tokens=16, temperature=0).text == expected


def test_F60_an_embedding_model_embeds_and_refuses_the_rest(tmp_path: Path) -> None:
    model = Model.load(WRITERS["bert"](tmp_path / "bert.gguf"))
    with Pool(model, slots=2, threads=1, n_ctx=64) as pool:
        one = pool.embed("hello")
        many = pool.embed(["hello", "world hello", "hello"])
        assert one.cosine_similarity(many[0]) > 0.9999
        assert many[0].cosine_similarity(many[2]) > 0.9999
        with pytest.raises(InvalidRequest, match="only embeds"):
            pool.chat("hello")
        with pytest.raises(InvalidRequest, match="only embeds"):
            pool.raw("hello")


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_context_beyond_the_learned_positions_is_refused(tmp_path: Path, kind: str) -> None:
    """llama.cpp aborts the process where it looks up a position that is not there."""
    path = WRITERS[kind](tmp_path / "model.gguf", **{"general.name": "short"})
    model = Model.load(path, n_ctx=512)
    for attempt in (lambda: Model.load(path, n_ctx=513), lambda: Pool(model, n_ctx=100_000)):
        with pytest.raises(InvalidRequest, match=r"n_ctx is \d+: short has learned 512 positions") as caught:
            attempt()
        assert caught.value.field == "n_ctx"


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_last_learned_position_is_used_and_none_after_it(tmp_path: Path, kind: str) -> None:
    with Pool(Model.load(WRITERS[kind](tmp_path / "model.gguf")), slots=1, n_ctx=512) as pool:
        if kind == "bert":
            assert pool.embed("." * 510).prompt_tokens == 512
        else:
            usage = pool.raw("." * 500, temperature=0, max_tokens=12).usage
            assert (usage.prompt_tokens, usage.completion_tokens) == (500, 12)
        with pytest.raises(ContextOverflow, match="trained for 512") as caught:
            pool.embed("." * 511) if kind == "bert" else pool.raw("." * 512)
        assert "raise n_ctx" not in caught.value.message


def test_a_context_longer_than_the_training_warns_once_where_positions_are_computed(tmp_path: Path) -> None:
    model = Model.load(WRITERS["llama"](tmp_path / "model.gguf", **{"general.name": "plain"}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # Python's own: once for each line
        for _ in range(2):
            pool = Pool(model, slots=1, n_ctx=4096)
    assert [warning.filename for warning in caught] == [__file__]
    assert "n_ctx is 4096, but plain was trained for 512" in str(caught[0].message)
    with pool:
        assert pool.raw("." * 600, max_tokens=1).usage.prompt_tokens == 600


def test_F60_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="encoder-decoder"):
        Model.load(WRITERS["t5"](tmp_path / "t5.gguf"))


def test_F60_chat_without_a_template(tmp_path: Path) -> None:
    path = WRITERS["llama"](tmp_path / "plain.gguf", chat_template=False)
    with Model.load(path, n_ctx=64) as model, pytest.raises(InvalidRequest, match="chat template"):
        model.chat("hello")
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    with Model.load(path, n_ctx=64, chat_template=template) as model:
        assert model.chat("hello", max_tokens=4, temperature=0).usage.completion_tokens <= 4


def test_F58_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = WRITERS["llama"](tmp_path / "model.gguf")
    model = Model.load(path)
    WRITERS["llama"](tmp_path / "other.gguf", seed=1).replace(path)
    with pytest.raises(ModelError, match="changed"), Pool(model, slots=1, n_ctx=64):
        pass


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_model_that_computes_no_numbers_answers_with_an_error(tmp_path, temperature):
    path = write_llama(tmp_path / "nan.gguf")
    (norm,) = (
        tensor for tensor in gguf.GGUFReader(path, "r+").tensors if tensor.name == "output_norm.weight"
    )
    norm.data[:] = np.nan
    norm.data.flush()
    with Pool(path, slots=2, n_ctx=64) as pool, pytest.raises(EngineError, match="not finite"):
        pool.raw("abc", max_tokens=4, temperature=temperature)


def test_F48_a_users_text_is_not_changed_where_it_spells_control_tokens(tmp_path):
    """SentencePiece puts a space before each piece of text, so a text in pieces would be another one."""
    path = write_llama(tmp_path / "pieces.gguf", vocabulary=lambda maker: maker.sentencepiece())
    spec = Model.load(path, chat_template="{% for m in messages %}{{ m.content }}{% endfor %}").spec
    engine = library.load(spec, LaneSpec(), lambda: False)
    text = "Use <s>old</s> for what was struck out"
    tokens = Prompter(engine).chat([{"role": "user", "content": text}], ()).tokens
    assert b"".join(map(engine.piece, tokens)).decode() == f" {text}"
    assert engine.info.control_ids.isdisjoint(tokens[1:])
    engine.close()
