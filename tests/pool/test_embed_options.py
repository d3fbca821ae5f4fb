"""What a call may ask of its vectors: their length, the prefix of its texts, and passages of one document."""

from __future__ import annotations

from typing import Any

import pytest

from poolinfer import Embed, InvalidRequest, Model, demo_model
from poolinfer.testing import FakeEngine, fake_pool


def test_vectors_are_cut_and_scaled() -> None:
    with fake_pool() as pool:
        whole = pool.embed("abc")
        assert whole.tolist() == [pytest.approx(98), 1.0, 1.0, 1.0]
        short = pool.embed("abc", dimensions=2)
        assert short.dimensions == 2
        assert short.tolist() == pytest.approx([98 / 98.0051, 1 / 98.0051], abs=1e-5)
        with pytest.raises(InvalidRequest, match="vectors have 4 numbers") as caught:
            pool.embed("abc", dimensions=5)
        assert caught.value.field == "dimensions"


def test_more_dimensions_than_there_are_never_reach_an_engine(tiny: Model) -> None:
    with Model.load(demo_model()) as model:
        with pytest.raises(InvalidRequest, match="have 128 numbers; use at most so many"):
            model.submit(Embed("a", dimensions=129))
        assert model.info.width == 128


def test_texts_get_the_prefix_of_their_kind() -> None:
    engine = FakeEngine(query_prefix="query: ", document_prefix="")
    with fake_pool(engine) as pool:
        assert pool.embed("a", input_type="query") == pool.embed("query: a")
        assert pool.embed(["a", "b"], input_type="document") == pool.embed(["a", "b"])
        assert pool.embed(["a", "b"], input_type="query")[1] == pool.embed("query: b")
    with (
        fake_pool() as pool,
        pytest.raises(InvalidRequest, match="query_prefix= and document_prefix=") as caught,
    ):
        pool.embed("a", input_type="query")
    assert caught.value.field == "input_type"


def test_a_prefix_is_an_option_of_a_model() -> None:
    with Model.load(demo_model(), query_prefix="query: ") as model:
        asked, plain = model.embed("a", input_type="query"), model.embed("query: a")
        assert asked.cosine_similarity(plain) > 0.9999
        assert model.embed("a", input_type="document").prompt_tokens == model.embed("a").prompt_tokens


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("n_batch", [32, 512])
def test_passages_have_vectors_of_the_whole(causal: bool, n_batch: int) -> None:
    """The positions in the vectors show that the document was computed as one, also in several steps."""
    engine = FakeEngine(causal=causal)
    passages = ["abc" * 10, "d", "ef" * 20]
    with fake_pool(engine) if n_batch == 512 else _small(engine, n_batch) as pool:
        found = pool.embed(passages, late_chunking=True)
        assert [vector.prompt_tokens for vector in found] == [30, 1, 40]
        assert [vector[1] for vector in found] == [14.5, 30.0, 50.5]
        assert [vector[1] for vector in pool.embed(passages, late_chunking=True, pooling="last")] == [
            29.0,
            30.0,
            70.0,
        ]
        assert len(pool.embed((passage for passage in ["a"] * 1000), late_chunking=True)) == 1000
        assert pool.stats().accepted == 3


def _small(engine: FakeEngine, n_batch: int) -> Any:
    from poolinfer import Pool

    return Pool(executor=engine.executor(n_batch=n_batch))


@pytest.mark.parametrize(
    ("input", "options", "field"),
    [
        ("one text", {}, "input"),
        (["a", ""], {}, "input[1]"),
        (["a" * 1500, "b" * 1500], {}, "input"),
        (["a"], {"truncate": True}, "truncate"),
        (["a"], {"pooling": "cls"}, "pooling"),
        (["a"], {"late_chunking": 1}, "late_chunking"),
        (["a"], {"input_type": "text"}, "input_type"),
        (["a"], {"dimensions": 0}, "dimensions"),
    ],
)
def test_bad_input_names_its_field(input: Any, options: dict[str, Any], field: str) -> None:
    with fake_pool() as pool, pytest.raises(InvalidRequest) as caught:
        pool.embed(input, **{"late_chunking": True, **options})
    assert caught.value.field == field


def test_a_vector_that_is_no_number_fails_its_call_and_ends() -> None:
    with fake_pool(FakeEngine(nan_embeddings=True)) as pool, pytest.raises(Exception, match="not finite"):
        pool.embed(["a", "b"], late_chunking=True)
