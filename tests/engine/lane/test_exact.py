"""`slots=1`: the same request gives the same bits, run after run; on costed fakes, then on the real engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf_models import WRITERS, write_llama
from rides import CostedEngine, Ride, raw

from poolinfer import Embed, Model, Pool, Raw, Response, demo_model
from poolinfer._engine.engine_protocol import EngineFault
from poolinfer._engine.llama.llama_context import LlamaContext
from poolinfer._executors.registry import ExecutorName
from poolinfer._pool.lane_sizing import lane_spec
from poolinfer.testing import FakeEngine, wait_until
from poolinfer.testing._fake_context import FakeRectangle

# Rows of a last piece that is one long are computed by other kernels than rows of a longer one.
LETTERS = 65


def rows(ride: Ride) -> list[int]:
    """How many rows each step had."""
    return [sum(step.values()) for step in ride.engine.steps_rows]


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("per_row", [1e-6, 0.002, 0.5])
def test_P7_no_clock_has_a_say_in_the_cut_of_a_prompt(per_row: float) -> None:
    ride = Ride(CostedEngine(tokens=2), slots=1, prefix_cache=False)
    ride.engine.per_row = per_row
    for n in range(3):
        ride.engine.steps_rows.clear()
        ride.ask(n, raw("x" * 1200))
        assert rows(ride) == [512, 512, 176, 1, 1]


@pytest.mark.usefixtures("memory")
def test_P7_a_prefix_is_reused_in_whole_pieces_and_without_answers() -> None:
    ride = Ride(CostedEngine(tokens=10**6), slots=1, prefix_cache=True)
    text = "".join(chr(97 + n % 26) for n in range(1300))
    talk = text + ride.ask(0, raw(text, max_tokens=400))
    ride.engine.steps_rows.clear()
    ride.ask(1, raw(talk + "And now?", max_tokens=1))
    assert ride.usage(1).cached_tokens == 1024
    assert rows(ride) == [512, len(talk) + 8 - 1536]
    ride.ask(2, raw(text[:1024], max_tokens=1))
    assert ride.usage(2).cached_tokens == 512  # the last token is computed in any case, with its piece
    ride.ask(3, raw(text[:600] + "!", max_tokens=1))
    assert ride.usage(3).cached_tokens == 512


@pytest.mark.usefixtures("memory")
def test_P7_a_prefix_of_a_prompt_that_was_cancelled_is_whole_pieces() -> None:
    ride = Ride(CostedEngine(tokens=4), slots=1, prefix_cache=True)
    ride.join(0, raw("x" * 2000))
    ride.step(2)
    ride.cancel(0)
    ride.step()
    ride.engine.steps_rows.clear()
    ride.ask(1, raw("x" * 1100, max_tokens=1))
    assert ride.usage(1).cached_tokens == 1024
    assert rows(ride) == [76]


@pytest.mark.parametrize("kv_reuse", [True, False])
def test_P7_what_a_context_lost_is_computed_again_as_it_was(
    monkeypatch: pytest.MonkeyPatch, kv_reuse: bool
) -> None:
    """An answer's tokens are computed one by one again: together, they would have other bits."""

    def refuse(*_: object) -> None:
        raise EngineFault("cannot")

    monkeypatch.setattr(FakeRectangle, "adopt", refuse)
    ride = Ride(CostedEngine(tokens=10**6, kv_reuse=kv_reuse), slots=1)
    assert ride.ask(0, raw("abcd" * 150, max_tokens=300)) == "abcd" * 75
    # The context grows with the prompt, and once more when there are 169 tokens of the answer.
    assert rows(ride) == [512, 88, *[1] * 168, 512, 88, *[1] * 299]
    assert ride.usage(0).cached_tokens == 0


def test_F35_a_lone_call_ends_within_its_piece() -> None:
    """With one slot, a piece of a prompt may take long. A cancel does not wait for its end."""
    engine = FakeEngine(step_delay=600)
    with Pool(executor=engine.executor(slots=1, n_ctx=100_000)) as pool:
        for call in (pool.submit(Raw("x" * 90_000)), pool.submit(Embed("text " * 100))):
            began = engine.steps
            wait_until(lambda began=began: engine.steps > began, "a step")
            call.cancel()
            wait_until(lambda: pool.stats().stopping == 0, "the slot")
    assert engine.leaks() == []


@pytest.mark.parametrize(
    ("slots", "n_batch", "layers", "expected"),
    [(1, None, 0, 128), (1, 300, 0, 300), (2, None, 0, 512), (1, None, -1, 512)],
)
def test_the_pieces_of_one_slot_are_small_on_a_cpu(
    slots: int, n_batch: int | None, layers: int, expected: int
) -> None:
    """At ten tokens a second, a whole batch would look like a worker that hangs."""
    assert lane_of(Model.load(demo_model(), n_gpu_layers=layers), slots, n_batch=n_batch).n_batch == expected


def lane_of(model: Model, slots: int, **options: Any) -> Any:
    """What a pool of these options makes its lanes of."""
    names = ("threads", "n_batch", "kv_memory", "flash_attention", "prefix_cache", "type_k", "type_v")
    rest = dict.fromkeys(names)
    return lane_spec(model.info, 1, slots=slots, n_ctx=512, latency_target=0.25, **{**rest, **options})


@pytest.mark.parametrize(
    ("experts", "slots", "wanted", "expected"),
    [(0, 4, None, True), (8, 4, None, False), (8, 4, True, True), (0, 1, None, False), (0, 4, False, False)],
)
def test_flash_attention_rounds_no_mixture_of_experts_unasked(
    tmp_path: Path, experts: int, slots: int, wanted: bool | None, expected: bool
) -> None:
    model = Model.load(write_llama(tmp_path / "model.gguf", expert_count=experts))
    assert model.n_expert == experts
    assert lane_of(model, slots, flash_attention=wanted).flash_attention is expected


# The real engine.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Random weights, whose last bits show where a prompt was cut; the tiny model's do not."""
    return Model.load(write_llama(tmp_path_factory.mktemp("exact") / "llama.gguf", context_length=2048))


def request(model: Model, text: str, n: int = 24, seed: int = 7) -> Raw:
    """A call that goes on to the end of its tokens, and tells the bits of its logits."""
    assert model.info.n_vocab
    ends = dict.fromkeys(range(model.info.n_vocab - 3, model.info.n_vocab), -100.0)
    return Raw(text, seed=seed, temperature=1.5, max_tokens=n, top_logprobs=5, logit_bias=ends)


def said(response: Response) -> tuple[object, ...]:
    """All of a response but how long it took, and what it could take over."""
    assert response.logprobs
    return response.text, response.logprobs, response.finish_reason


def test_P7_same_seed_same_bits_call_after_call(model: Model) -> None:
    seen = set()
    for workers in (1, 2):
        with Pool(model, slots=1, threads=1, workers=workers, n_ctx=256) as pool:
            for _ in range(4):
                response = pool.submit(request(model, "x" * LETTERS)).result()
                assert response.usage.prompt_tokens == LETTERS
                seen.add(said(response))
    assert len(seen) == 1


@pytest.mark.parametrize(("executor", "share"), [("process", "repack"), ("prefork", None)])
def test_P7_same_seed_same_bits_on_every_executor(model: Model, executor: ExecutorName, share: Any) -> None:
    asked = request(model, "x" * LETTERS)
    with Pool(model, slots=1, threads=1, n_ctx=256) as pool:
        expected = said(pool.submit(asked).result())
    with Pool(model, executor=executor, share=share, slots=1, threads=1, n_ctx=256) as pool:
        assert [said(pool.submit(asked).result()) for _ in range(2)] == [expected] * 2


def test_P7_a_reused_prefix_changes_no_bit(model: Model) -> None:
    start = "".join(chr(97 + n * n % 26) for n in range(97))
    texts = [start, start + "y", start[:64] + "other", start[:33], start * 2]
    found, reused = [], []
    for prefix_cache in (False, True):
        with Pool(model, slots=1, threads=1, n_ctx=512, n_batch=32, prefix_cache=prefix_cache) as pool:
            replies = [pool.submit(request(model, text)).result() for text in texts]
            # And the next turn of a conversation, which begins with a prompt and its answer.
            replies.append(pool.submit(request(model, texts[-1] + replies[-1].text + "?")).result())
            found.append([said(reply) for reply in replies])
            reused.append([reply.usage.cached_tokens for reply in replies])
    assert found[0] == found[1]
    assert reused == [[0] * 6, [0, 96, 64, 32, 32, 192]]


@pytest.mark.parametrize("lost", [False, True])
def test_P7_a_growing_context_changes_no_bit(
    model: Model, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """A context that has no memory for a copy of what it held gives the same bits as well."""
    asked = request(model, "x" * 450, 400)
    found = []
    with Pool(model, slots=1, threads=1, n_ctx=2048) as pool:
        for _ in range(2):  # the first makes it grow
            found.append(said(pool.submit(asked).result()))

    def no_memory(*_: object) -> None:
        raise MemoryError

    if lost:
        monkeypatch.setattr(LlamaContext, "adopt", no_memory)
    with Pool(model, slots=1, threads=1, n_ctx=2048) as pool:
        found.append(said(pool.submit(asked).result()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("texts", [["x" * LETTERS], ["x" * LETTERS, "a short one", "y" * 200]])
def test_P7_the_same_texts_have_the_same_vectors(model: Model, texts: list[str]) -> None:
    with Pool(model, slots=1, threads=1, n_ctx=256) as pool:
        first = pool.embed(texts, pooling="last")
        for other in ("z" * 130, "another"):
            pool.embed(other)
        assert pool.embed(texts, pooling="last") == first


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_P7_vectors_do_not_depend_on_the_size_of_the_context(tmp_path: Path, kind: str) -> None:
    texts = ["the river Lima cloud " * (1 + n % 7) for n in range(14)]
    found = []
    model = Model.load(WRITERS[kind](tmp_path / f"{kind}.gguf"))
    for n_ctx in (200, 512):
        with Pool(model, slots=1, threads=1, n_ctx=n_ctx) as pool:
            found.append(pool.embed(texts))
    assert found[0] == found[1]
    assert found[0][:7] == found[0][7:]
