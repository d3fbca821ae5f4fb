"""LoRA adapters: what is computed with one equals what the merged weights compute."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_lora import SHAPES, write_lora
from gguf_models import write_llama

from poolinfer import InvalidRequest, Model, ModelError, Pool, Raw
from poolinfer._engine.llama.library import _library

REQUESTS = [Raw(f"hello the {n}", max_tokens=12, temperature=0, top_logprobs=5) for n in range(4)]


def answers(model: Model, **options: Any) -> tuple[list[str], np.ndarray]:
    """Texts, and the log probabilities of their first tokens."""
    with Pool(model, slots=4, threads=1, n_ctx=64, **options) as pool:
        found = list(pool.map(REQUESTS))
        return [one.text for one in found], np.array(
            [value for one in found for *_, value in one.logprobs[0].top]
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model, two adapters, and the weights with both of them merged into it, the second at a scale of -0.5."""
    folder = tmp_path_factory.mktemp("lora")
    found = {name: folder / f"{name}.gguf" for name in ("base", "first", "second", "merged")}
    first, second = write_lora(found["first"], 1), write_lora(found["second"], 2)
    write_llama(found["base"])
    write_llama(found["merged"], added={name: first[name] - 0.5 * second[name] for name in SHAPES})
    return found


@pytest.mark.parametrize("executor", ["thread", "process", "prefork"])
def test_adapters_equal_merged_weights(files: dict[str, Path], executor: str) -> None:
    both = Model.load(files["base"], lora=[files["first"], (files["second"], -0.5)])
    texts, values = answers(both, executor=executor)
    expected, right = answers(Model.load(files["merged"]), executor=executor)
    assert texts == expected
    assert np.abs(values - right).max() < 1e-3
    assert texts != answers(Model.load(files["base"]))[0]


def test_a_scale_of_zero_is_none(files: dict[str, Path]) -> None:
    texts, values = answers(Model.load(files["base"], lora=(files["first"], 0)))
    expected, right = answers(Model.load(files["base"]))
    assert texts == expected
    # Who shares a step changes the last bits.
    assert np.abs(values - right).max() < 1e-5


def test_pools_with_different_adapters_share_the_weights_of_a_process(files: dict[str, Path]) -> None:
    """A set of adapters per pool is a model per pool."""
    sets: list[Any] = [None, files["first"], [(files["first"], 0.5), files["second"]]]
    models = [Model.load(files["base"], lora=lora) for lora in sets]
    alone = [answers(model)[0] for model in models]
    assert len({tuple(texts) for texts in alone}) == 3
    pools = [Pool(model, slots=4, threads=1, n_ctx=64) for model in models]
    try:
        together = [[one.text for one in pool.map(REQUESTS)] for pool in pools]
        mine = [weights for spec, weights in _library.weights.items() if spec.path == str(files["base"])]
        assert [weights.users for weights in mine] == [3]
    finally:
        for pool in pools:
            pool.close()
    assert together == alone


def test_embeddings_are_computed_with_adapters_too(files: dict[str, Path]) -> None:
    vectors = []
    for model in (Model.load(files["base"], lora=files["first"]), Model.load(files["base"])):
        with Pool(model, slots=1, threads=1, n_ctx=64) as pool:
            vectors.append(pool.embed("hello the"))
    assert vectors[0].cosine_similarity(vectors[1]) < 0.999


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arch": "gemma2"}, "for the architecture 'gemma2', and the model is of 'llama'"),
        ({"kind": "ia3"}, "holds no LoRA adapter"),
        (
            {"lacks": ["blk.0.attn_q.weight.lora_b"]},
            "lacks one half of a pair of matrices: blk.0.attn_q.weight",
        ),
        ({"adapter.alora.invocation_tokens": [1, 2]}, "aLoRA"),
    ],
)
def test_F57_a_file_that_is_no_adapter_of_this_model(
    files: dict[str, Path], tmp_path: Path, options: Any, words: str
) -> None:
    write_lora(tmp_path / "odd.gguf", **options)
    with pytest.raises(ModelError, match=words):
        Model.load(files["base"], lora=tmp_path / "odd.gguf")


@pytest.mark.parametrize("executor", ["thread", "process", "prefork"])
def test_F57_an_adapter_for_other_weights_is_refused_before_a_call(
    files: dict[str, Path], tmp_path: Path, executor: Any
) -> None:
    write_lora(tmp_path / "other.gguf", shapes={"blk.7.attn_q.weight": (64, 64)})
    model = Model.load(files["base"], lora=tmp_path / "other.gguf")
    with (
        pytest.raises(ModelError, match=r"llama.cpp cannot load this"),
        Pool(model, executor=executor, n_ctx=64),
    ):
        pass


@pytest.mark.parametrize(
    ("lora", "field"),
    [
        (5, "lora"),
        ([5], "lora[0]"),
        ([("a.gguf", "b", 1)], "lora[0]"),
        (["{first}", "{first}"], "lora[1]"),
        ([("{first}", 1e9)], "lora[0]"),
        ([("{first}", float("nan"))], "lora[0]"),
        (["{first}"] * 17, "lora"),
    ],
)
def test_F46_what_is_no_adapter(files: dict[str, Path], lora: Any, field: str) -> None:
    def put(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(map(put, value))
        return value.format(**files) if isinstance(value, str) else value

    with pytest.raises(InvalidRequest) as caught:
        Model.load(files["base"], lora=put(lora))
    assert caught.value.field == field


def test_F58_an_adapter_that_changed_is_not_loaded(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "adapter.gguf"
    write_lora(path, 1)
    model = Model.load(files["base"], lora=path)
    os.utime(path, (1, 1))
    with pytest.raises(ModelError, match=r"adapter.gguf: the file changed"), Pool(model, n_ctx=64):
        pass
    with pytest.raises(ModelError, match=r"LoRA file .*none.gguf.* cannot be read"):
        Model.load(files["base"], lora=tmp_path / "none.gguf")
