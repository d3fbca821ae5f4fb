"""Sampling against chains of llama.cpp that are built by hand."""

from __future__ import annotations

import ctypes
import random
import threading
from collections.abc import Iterator
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np
import pytest

from poolinfer import Model, Raw
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.engine_protocol import EngineFault
from poolinfer._engine.llama.library import load
from poolinfer._engine.llama.llama_engine import LlamaEngine
from poolinfer._engine.llama.llama_sampler import Candidates, LlamaSampler

N_VOCAB = 300


@pytest.fixture(scope="module")
def engine(tiny: Model) -> Iterator[LlamaEngine]:
    made = load(tiny.spec, LaneSpec(slots=1, n_ctx=128), lambda: False)
    yield made
    made.close()


def test_greedy_takes_the_most_likely_token_and_notes_nothing(engine: LlamaEngine) -> None:
    sampler = engine.sampler(Raw("x", temperature=0), 1)
    logits = np.zeros(engine.info.n_vocab, "f4")
    logits[7] = 1
    for _ in range(3):
        assert sampler.sample(logits) == 7
        sampler.accept(7)
    sampler.close()


@pytest.mark.parametrize("temperature", [0, 0.8])
@pytest.mark.parametrize("repeat_penalty", [1.0, 1.1])
def test_a_masked_token_is_never_chosen(
    engine: LlamaEngine, temperature: float, repeat_penalty: float
) -> None:
    sampler = engine.sampler(Raw("x", temperature=temperature, repeat_penalty=repeat_penalty), 1)
    row = np.full(engine.info.n_vocab, -np.inf, "f4")
    row[3] = -50
    assert {sampler.sample(row) for _ in range(20)} == {3}
    row[3] = -np.inf
    with pytest.raises(EngineFault, match="not finite"):
        sampler.sample(row)
    row[:] = np.nan
    with pytest.raises(EngineFault, match="not finite"):
        sampler.sample(row)
    sampler.close()


def test_only_what_was_accepted_is_penalised(engine: LlamaEngine) -> None:
    sampler = engine.sampler(Raw("x", temperature=0, frequency_penalty=10), 1)
    row = np.zeros(engine.info.n_vocab, "f4")
    row[5], row[6] = 2, 1
    assert [sampler.sample(row) for _ in range(3)] == [5, 5, 5]
    sampler.accept(5)
    assert sampler.sample(row) == 6
    sampler.accept(6)
    assert sampler.sample(row) not in (5, 6)
    sampler.close()


def test_slots_of_a_thread_share_one_array_and_threads_do_not() -> None:
    candidates = Candidates(api, N_VOCAB)
    samplers = [LlamaSampler(api, Raw("x"), seed, candidates) for seed in range(2)]
    addresses: list[int] = []

    def sample() -> None:
        for sampler in samplers:
            sampler.sample(np.zeros(N_VOCAB, "f4"))
            array = candidates.of(np.zeros(N_VOCAB, "f4"))
            addresses.append(ctypes.addressof(array.data.contents))

    sample()
    other = threading.Thread(target=sample)
    other.start()
    other.join()
    assert addresses[0] == addresses[1] != addresses[2] == addresses[3]
    for sampler in samplers:
        sampler.close()


@pytest.mark.parametrize("seed", range(20))
def test_sampling_equals_a_chain_built_by_hand(engine: LlamaEngine, seed: int) -> None:
    """The same tokens as llama.cpp's own chain over its own array, for twenty sets of options each."""
    rng = random.Random(seed)
    for _ in range(20):
        options = generated(rng)
        request = Raw("x", **options)
        n_vocab = engine.info.n_vocab
        sampler, chain = engine.sampler(request, seed), by_hand(request, seed, n_vocab)
        noise = np.random.default_rng(rng.getrandbits(32))
        for _ in range(12):
            row = noise.standard_normal(n_vocab).astype("f4") * 3
            token = sampler.sample(row)
            assert token == sample_by_hand(chain, row), options
            sampler.accept(token)
            api.llama_sampler_accept(chain, token)
        sampler.close()
        api.llama_sampler_free(chain)


def generated(rng: random.Random) -> dict[str, Any]:
    """Options of which about half are not given."""
    every = {
        "temperature": rng.choice([0.0, 0.3, 1.0, 1.7]),
        "top_k": rng.choice([0, 1, 5, 200]),
        "top_p": rng.choice([0.1, 0.7, 1.0]),
        "min_p": rng.choice([0.0, 0.2, 1.0]),
        "repeat_penalty": rng.choice([0.8, 1.3]),
        "presence_penalty": rng.choice([-1.0, 2.0]),
        "frequency_penalty": rng.choice([-0.5, 1.5]),
        "logit_bias": {rng.randrange(N_VOCAB): rng.uniform(-10, 10) for _ in range(3)},
    }
    return {name: value for name, value in every.items() if rng.random() < 0.5}


def by_hand(request: Raw, seed: int, n_vocab: int) -> Any:
    """A chain in the order of llama.cpp's `common/sampling.cpp`."""
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())

    def add(sampler: Any) -> None:
        api.llama_sampler_chain_add(chain, sampler)

    bias = [api.llama_logit_bias(token, value) for token, value in (request.logit_bias or {}).items()]
    add(api.llama_sampler_init_logit_bias(n_vocab, len(bias), (api.llama_logit_bias * len(bias))(*bias)))
    add(
        api.llama_sampler_init_penalties(
            n_vocab, 64, request.repeat_penalty, request.frequency_penalty, request.presence_penalty
        )
    )
    if request.temperature > 0:
        add(api.llama_sampler_init_top_k(request.top_k))
        add(api.llama_sampler_init_top_p(request.top_p, 1))
        add(api.llama_sampler_init_min_p(request.min_p, 1))
    add(api.llama_sampler_init_temp(request.temperature))
    add(api.llama_sampler_init_dist(seed))
    return chain


def sample_by_hand(chain: Any, row: Any) -> int:
    tokens = (api.llama_token_data * len(row))(*((n, float(logit), 0.0) for n, logit in enumerate(row)))
    array = api.llama_token_data_array(tokens, len(row), -1, False)
    api.llama_sampler_apply(chain, ctypes.byref(array))
    return int(array.data[array.selected].id)
