"""Sampling against chains of llama.cpp that are built by hand."""

from __future__ import annotations

import ctypes
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np
import pytest
from gguf_models import write_llama

from poolinfer import Model, Raw
from poolinfer._data.sampling import Sampling
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.engine_protocol import EngineFault
from poolinfer._engine.llama.library import load
from poolinfer._engine.llama.llama_engine import LlamaEngine
from poolinfer._engine.llama.llama_sampler import Candidates, LlamaSampler

N_CTX = 128


@pytest.fixture(scope="module")
def engine(tiny: Model) -> Iterator[LlamaEngine]:
    made = load(tiny.spec, LaneSpec(slots=1, n_ctx=N_CTX), lambda: False)
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
@pytest.mark.parametrize(
    "more", [{}, {"ignore_eos": True}, {"mirostat": 1}, {"mirostat": 2}, {"typical_p": 0.5}]
)
def test_a_masked_token_is_never_chosen(
    engine: LlamaEngine, temperature: float, repeat_penalty: float, more: dict[str, Any]
) -> None:
    sampler = engine.sampler(Raw("x", temperature=temperature, repeat_penalty=repeat_penalty, **more), 1)
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


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_an_answer_does_not_end_too_early(engine: LlamaEngine, temperature: float) -> None:
    (end, *_), n_vocab = sorted(engine.end_ids), engine.info.n_vocab
    row = np.zeros(n_vocab, "f4")
    row[end], row[5] = 90, 60
    patient = engine.sampler(Raw("x", min_tokens=3, temperature=temperature), 1)
    endless = engine.sampler(Raw("x", ignore_eos=True, temperature=temperature), 1)
    for n in range(6):
        assert patient.sample(row) == (5 if n < 3 else end)
        assert endless.sample(row) == 5
        patient.accept(5)
        endless.accept(5)
    assert row[end] == 90
    # A constraint that allows nothing but the end is stronger.
    only = np.full(n_vocab, -np.inf, "f4")
    only[end] = 0
    assert endless.sample(only) == end
    patient.close()
    endless.close()


def test_tokens_that_the_file_suppresses_are_never_chosen(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"tokenizer.ggml.suppress_tokens": [7, 9]}
    path = write_llama(tmp_path / "a.gguf", **keys)
    engine = load(Model.load(path).spec, LaneSpec(slots=1, n_ctx=N_CTX), lambda: False)
    row = np.zeros(engine.info.n_vocab, "f4")
    row[7], row[9], row[8] = 90, 80, 60
    for temperature in (0, 0.8):
        sampler = engine.sampler(Raw("x", temperature=temperature), 1)
        assert sampler.sample(row) == 8
        sampler.close()
    engine.close()


def test_slots_of_a_thread_share_one_array_and_threads_do_not(engine: LlamaEngine) -> None:
    candidates = Candidates(api, 300)
    samplers = [LlamaSampler(api, by_hand(engine, Raw("x"), seed), candidates) for seed in range(2)]
    addresses: list[int] = []

    def sample() -> None:
        for sampler in samplers:
            sampler.sample(np.zeros(300, "f4"))
            array = candidates.of(np.zeros(300, "f4"))
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
    n_vocab = engine.info.n_vocab
    for _ in range(20):
        options = generated(rng, n_vocab)
        request = Raw("x", **options)
        sampler, chain = engine.sampler(request, seed), by_hand(engine, request, seed)
        noise = np.random.default_rng(rng.getrandbits(32))
        # Few different rows, so that there are repetitions.
        rows = [noise.standard_normal(n_vocab).astype("f4") * 3 for _ in range(3)]
        arrays = [laid_out(row) for row in rows]
        for n in range(12):
            token = sampler.sample(rows[n % 3])
            assert token == sample_by_hand(chain, arrays[n % 3], n_vocab), options
            sampler.accept(token)
            api.llama_sampler_accept(chain, token)
        sampler.close()
        api.llama_sampler_free(chain)


def generated(rng: random.Random, n_vocab: int) -> dict[str, Any]:
    """Options of which about a third are given."""
    every: dict[str, Any] = {
        "temperature": rng.choice([0.0, 0.3, 1.0, 1.7]),
        "dynatemp_range": rng.choice([0.0, 0.5]),
        "dynatemp_exponent": rng.choice([0.5, 2.0]),
        "top_k": rng.choice([0, 1, 5, 200]),
        "top_p": rng.choice([0.1, 0.7, 1.0]),
        "min_p": rng.choice([0.0, 0.2, 1.0]),
        "typical_p": rng.choice([0.2, 0.9, 1.0]),
        "top_n_sigma": rng.choice([0.0, 1.0, 3.0]),
        "xtc_probability": rng.choice([0.5, 1.0]),
        "xtc_threshold": rng.choice([0.01, 0.3]),
        "mirostat": rng.choice([0, 1, 2]),
        "mirostat_tau": rng.choice([1.0, 8.0]),
        "mirostat_eta": rng.choice([0.05, 1.0]),
        "repeat_last_n": rng.choice([-1, 0, 2, 1000]),
        "repeat_penalty": rng.choice([0.8, 1.3]),
        "presence_penalty": rng.choice([-1.0, 2.0]),
        "frequency_penalty": rng.choice([-0.5, 1.5]),
        "dry_multiplier": rng.choice([0.0, 5.0]),
        "dry_base": rng.choice([1.0, 3.0]),
        "dry_allowed_length": rng.choice([0, 1, 3]),
        "dry_penalty_last_n": rng.choice([-1, 0, 5, 1000]),
        "dry_sequence_breakers": rng.choice([(), ("e", "\n"), (" the",)]),
        "logit_bias": {rng.randrange(n_vocab): rng.uniform(-10, 10) for _ in range(3)},
    }
    return {name: value for name, value in every.items() if rng.random() < 0.35}


def by_hand(engine: LlamaEngine, request: Raw, seed: int) -> Any:
    """A chain in the order of llama.cpp's `common/sampling.cpp`; penalties and DRY come before Mirostat, too."""
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    vocab, n_vocab, asked = engine._vocab, engine.info.n_vocab, Sampling().of(request)

    def add(sampler: Any) -> None:
        api.llama_sampler_chain_add(chain, sampler)

    bias = [api.llama_logit_bias(*pair) for pair in (request.logit_bias or {}).items()]
    add(api.llama_sampler_init_logit_bias(n_vocab, len(bias), (api.llama_logit_bias * len(bias))(*bias)))
    last_n = N_CTX if asked.repeat_last_n == -1 else asked.repeat_last_n
    penalties = asked.repeat_penalty, asked.frequency_penalty, asked.presence_penalty
    add(api.llama_sampler_init_penalties(n_vocab, last_n, *penalties))
    last_n = N_CTX if asked.dry_penalty_last_n == -1 else asked.dry_penalty_last_n
    breakers = [text.encode() for text in asked.dry_sequence_breakers]
    dry = asked.dry_multiplier, asked.dry_base, asked.dry_allowed_length, last_n
    add(api.llama_sampler_init_dry(vocab, *dry, (ctypes.c_char_p * len(breakers))(*breakers), len(breakers)))
    if asked.mirostat and asked.temperature:
        add(api.llama_sampler_init_temp(asked.temperature))
        if asked.mirostat == 1:
            add(api.llama_sampler_init_mirostat(n_vocab, seed, asked.mirostat_tau, asked.mirostat_eta, 100))
        else:
            add(api.llama_sampler_init_mirostat_v2(seed, asked.mirostat_tau, asked.mirostat_eta))
        return chain
    if asked.temperature:
        add(api.llama_sampler_init_top_n_sigma(asked.top_n_sigma))
        add(api.llama_sampler_init_top_k(asked.top_k))
        add(api.llama_sampler_init_typical(asked.typical_p, 0))
        add(api.llama_sampler_init_top_p(asked.top_p, 0))
        add(api.llama_sampler_init_min_p(asked.min_p, 0))
        add(api.llama_sampler_init_xtc(asked.xtc_probability, asked.xtc_threshold, 0, seed))
    temperature = (
        asked.temperature,
        asked.dynatemp_range if asked.temperature else 0.0,
        asked.dynatemp_exponent,
    )
    add(api.llama_sampler_init_temp_ext(*temperature))
    add(api.llama_sampler_init_dist(seed))
    return chain


def laid_out(row: Any) -> bytes:
    return bytes(
        (api.llama_token_data * len(row))(*((n, logit, 0.0) for n, logit in enumerate(row.tolist())))
    )


def sample_by_hand(chain: Any, tokens: bytes, n_vocab: int) -> int:
    array = api.llama_token_data_array(
        (api.llama_token_data * n_vocab).from_buffer_copy(tokens), n_vocab, -1, False
    )
    api.llama_sampler_apply(chain, ctypes.byref(array))
    return int(array.data[array.selected].id)
