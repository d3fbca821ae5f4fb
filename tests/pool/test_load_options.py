"""Types of keys and values, scaled positions, and GPUs: checked, and given to llama.cpp."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api
import pytest
from gguf_models import WRITERS, write_llama

from poolinfer import InvalidRequest, Model, Pool
from poolinfer._data.kv_types import KV_BLOCKS, kv_bytes
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.llama.context_params import context_params
from poolinfer._pool.lane_sizing import lane_spec

LANE: dict[str, Any] = dict.fromkeys(
    ("threads", "n_batch", "kv_memory", "flash_attention", "prefix_cache", "type_k", "type_v")
)
LANE |= {"slots": 4, "n_ctx": 1024, "latency_target": 0.25}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model whose heads have 32 numbers, and so can be quantised."""
    own: dict[str, Any] = {"attention.head_count": 2, "attention.head_count_kv": 1}
    return Model.load(write_llama(tmp_path_factory.mktemp("wide") / "wide.gguf", **own))


def test_bytes_of_types_are_those_of_ggml() -> None:
    assert {name: kv_bytes(256, name) for name in KV_BLOCKS} == {
        "f32": 1024,
        "f16": 512,
        "bf16": 512,
        "q8_0": 272,
        "q5_1": 192,
        "q5_0": 176,
        "q4_1": 160,
        "q4_0": 144,
        "iq4_nl": 144,
    }


def test_a_budget_of_memory_counts_the_types(wide: Model) -> None:
    memory = 4 * 1024 * wide.kv_bytes_per_token
    plain = lane_spec(wide.info, 1, **{**LANE, "kv_memory": memory})
    packed = lane_spec(wide.info, 1, **{**LANE, "kv_memory": memory, "type_k": "q8_0", "type_v": "q8_0"})
    assert plain.kv_tokens == 4 * 1024
    assert packed.kv_tokens == 4 * 1024 * 64 // 34
    assert packed.flash_attention is True
    assert (plain.type_k, packed.type_v) == ("f16", "q8_0")
    mixed = lane_spec(wide.info, 1, **{**LANE, "kv_memory": memory, "type_k": "q4_0"})
    assert mixed.kv_tokens == 4 * 1024 * 128 // (18 + 64)
    assert mixed.flash_attention is plain.flash_attention


@pytest.mark.parametrize("types", [("q8_0", "q8_0"), ("q4_0", "f16"), ("f32", "f32"), ("bf16", "bf16")])
def test_contexts_hold_keys_and_values_in_any_type(wide: Model, types: tuple[Any, Any]) -> None:
    """With sequences that move to a larger context, and prefixes that are copied."""
    prompts = [f"hello the {'the ' * 40}{n}" for n in range(6)]
    with Pool(wide, slots=4, threads=1, n_ctx=512, type_k=types[0], type_v=types[1]) as pool:
        found = [pool.raw(prompt, max_tokens=8, temperature=0).text for prompt in prompts]
    assert all(found)
    if types == ("f32", "f32"):
        with Pool(wide, slots=4, threads=1, n_ctx=512) as pool:
            plain = [pool.raw(prompt, max_tokens=8, temperature=0).text for prompt in prompts]
        assert sum(a == b for a, b in zip(found, plain, strict=True)) >= 5


def test_F46_types_that_do_not_go_together(wide: Model, tmp_path: Path) -> None:
    for bad in ("q9", 8, "Q8_0", ["f16"]):
        with pytest.raises(InvalidRequest, match=r"type_k is .*use 'f32', 'f16', ") as caught:
            Pool(wide, type_k=bad)  # type: ignore[arg-type]
        assert caught.value.field == "type_k"
    with pytest.raises(
        InvalidRequest, match="type_v is 'q8_0': use 'f16', or leave out flash_attention=False"
    ):
        Pool(wide, type_v="q8_0", flash_attention=False)
    narrow = Model.load(WRITERS["llama"](tmp_path / "narrow.gguf"))
    with pytest.raises(InvalidRequest, match=r"type_k is 'q8_0': .*heads of 16 numbers .* blocks of 32"):
        Pool(narrow, type_k="q8_0")


def test_positions_are_scaled_as_asked(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "model.gguf")
    scaled = Model.load(
        path, rope_scaling_type="yarn", rope_freq_scale=0.25, yarn_orig_ctx=512, yarn_beta_fast=16
    )
    params = context_params(api, scaled.spec, LaneSpec(), 1, 64, use="generate", rows=1)
    assert params.rope_scaling_type == api.LLAMA_ROPE_SCALING_TYPE_YARN
    assert (params.rope_freq_scale, params.yarn_orig_ctx, params.yarn_beta_fast) == (0.25, 512, 16)
    plain = context_params(api, Model.load(path).spec, LaneSpec(), 1, 64, use="generate", rows=1)
    default = api.llama_context_default_params()
    for name in (
        "rope_scaling_type",
        "rope_freq_base",
        "rope_freq_scale",
        "yarn_ext_factor",
        "yarn_orig_ctx",
    ):
        assert getattr(plain, name) == getattr(default, name)
    texts = []
    for model in (Model.load(path), scaled):
        with Pool(model, slots=1, threads=1, n_ctx=64) as pool:
            texts.append(pool.raw("hello the hello the", max_tokens=16, temperature=0).text)
    assert texts[0] != texts[1]
    # A context beyond what the model was trained for is what scaling is for.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Model.load(path, n_ctx=2048, rope_freq_scale=0.25)
    with pytest.warns(UserWarning, match="was trained for 512"):
        Model.load(path, n_ctx=2048)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"rope_scaling_type": "ntk"}, "rope_scaling_type"),
        ({"rope_freq_base": 0}, "rope_freq_base"),
        ({"rope_freq_scale": "4"}, "rope_freq_scale"),
        ({"yarn_orig_ctx": 1.5}, "yarn_orig_ctx"),
        ({"main_gpu": 0}, "main_gpu"),
        ({"tensor_split": [1]}, "tensor_split"),
        ({"main_gpu": -1, "n_gpu_layers": -1}, "main_gpu"),
        ({"tensor_split": [], "n_gpu_layers": -1}, "tensor_split"),
        ({"tensor_split": [0, 0], "n_gpu_layers": -1}, "tensor_split"),
        ({"tensor_split": [1, -1], "n_gpu_layers": -1}, "tensor_split[1]"),
        ({"tensor_split": [1] * 17, "n_gpu_layers": -1}, "tensor_split"),
        ({"tensor_split": [1], "main_gpu": 0, "n_gpu_layers": -1}, "tensor_split"),
    ],
)
def test_F46_options_that_mean_nothing(tiny: Model, options: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Model.load(tiny.path, **options)
    assert caught.value.field == field


def test_shares_of_gpus_do_no_harm_without_one(tiny: Model) -> None:
    for options in ({"tensor_split": [3, 1]}, {"main_gpu": 0}):
        model = Model.load(tiny.path, n_gpu_layers=-1, **options)  # type: ignore[arg-type]
        with Pool(model, slots=1, n_ctx=128) as pool:
            assert pool.raw("The capital of France is", temperature=0, max_tokens=3).text
