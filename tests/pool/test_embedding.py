"""Texts to embed: any number of them, in batches, cut, and as arrays."""

from __future__ import annotations

import pickle
import threading
from functools import partial

import anyio
import numpy
import pytest

from poolinfer import (
    CallCancelled,
    ContextOverflow,
    DeadlineExceeded,
    Embed,
    Embedding,
    EngineError,
    InvalidRequest,
    Model,
    Pool,
    PoolFull,
    Raw,
)
from poolinfer._pool.text_batches import split
from poolinfer.testing import FakeEngine, FakeExecutor, fake_pool, wait_until


def async_embed(backend, pool, *args, **options):
    return anyio.run(partial(pool.aembed, *args, **options), backend=backend)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def embedded(request):
    """Each of `embed` and `aembed`, as a sync function."""
    return Pool.embed if request.param == "sync" else partial(async_embed, request.param)


def vectors_of(found):
    return [round(float(one.vector[0])) for one in found]


def test_embed_takes_any_iterable_of_any_length(embedded):
    """Before, more than 4 096 texts were refused, and so was a generator."""
    texts = [chr(97 + n % 26) * (1 + n % 5) for n in range(5_000)]
    with fake_pool(FakeEngine(), workers=2, slots=4) as pool:
        found = embedded(pool, (text for text in texts))
        assert vectors_of(found) == [ord(text[0]) for text in texts]
        assert [one.prompt_tokens for one in found] == [len(text) for text in texts]
        assert pool.stats().accepted == 20
        assert vectors_of(embedded(pool, numpy.array(["a", "b"]))) == [97, 98]
        assert vectors_of(embedded(pool, {"b": 1}.keys())) == [98]
        assert embedded(pool, "b").dimensions == 4


def test_embed_reads_no_further_than_its_window():
    read, executor = [], FakeExecutor(manual=True, slots=1)

    def texts():
        for n in range(256 * 20):
            read.append(n)
            yield "a"

    with Pool(executor=executor) as pool:
        ended = []

        def ask():
            with pytest.raises(CallCancelled):
                pool.embed(texts())
            ended.append(True)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: pool.stats().accepted == 4)
        assert len(read) <= 256 * 6
        pool.close(0)
        asking.join(30)
        assert ended


@pytest.mark.parametrize("texts", [b"ab", {"a": 1}, 5, [b"a"], ["a", ""]])
def test_F61_embed_refuses_what_is_no_text(embedded, texts):
    with Pool(executor=FakeExecutor()) as pool:
        with pytest.raises(InvalidRequest) as caught:
            embedded(pool, texts)
        assert caught.value.field.startswith("input")
        assert pool.stats().accepted == 0


@pytest.mark.parametrize("make", [list, tuple, lambda texts: (text for text in texts)])
def test_no_texts_have_no_embeddings(embedded, make):
    """Before, `embed([])` was refused, though `map([])` gives nothing."""
    with Pool(executor=FakeExecutor()) as pool:
        assert embedded(pool, make([])) == []
        with pytest.raises(InvalidRequest, match="pooling"):
            embedded(pool, make([]), pooling="none")
        with pytest.raises(InvalidRequest, match="input"):
            pool.submit(Embed([]))
        assert pool.stats().accepted == 0


async def _async_texts():
    yield "a"


def test_async_iterables_are_refused_with_a_remedy(embedded):
    with Pool(executor=FakeExecutor()) as pool:
        for use in (pool.map, pool.amap, partial(embedded, pool)):
            with pytest.raises(InvalidRequest, match=r"async iterables are not taken; collect .* in a list"):
                use(_async_texts())


def test_F61_the_error_of_a_later_part_names_the_text(embedded):
    with Pool(executor=FakeEngine().executor(n_ctx=64)) as pool:
        with pytest.raises(ContextOverflow, match=r"input\[700\] has 65 tokens.*truncate=True") as caught:
            embedded(pool, ["a"] * 700 + ["x" * 65] + ["a"] * 100)
        assert (caught.value.field, caught.value.n_prompt, caught.value.n_ctx) == ("input[700]", 65, 64)
        with pytest.raises(InvalidRequest, match=r"input\[300\] is ''") as refused:
            embedded(pool, ["a"] * 300 + [""])
        assert refused.value.field == "input[300]"
        wait_until(lambda: pool.stats().busy == 0, "the slots")


def test_F61_an_overflow_speaks_of_the_text_and_not_of_generating(embedded):
    with Pool(executor=FakeEngine().executor(n_ctx=64)) as pool:
        assert embedded(pool, "x" * 64).prompt_tokens == 64
        for texts, field in (("x" * 65, "input"), (["a", "x" * 70], "input[1]")):
            with pytest.raises(ContextOverflow) as caught:
                embedded(pool, texts)
            assert caught.value.field == field
            assert str(caught.value).startswith(
                f"{field} has {len(texts[-1]) if field != 'input' else 65} tokens"
            )
            assert "generate" not in str(caught.value)
            assert "prompt" not in str(caught.value)


def test_truncate_cuts_texts_to_what_fits(embedded):
    with Pool(executor=FakeEngine().executor(n_ctx=64)) as pool:
        found = embedded(pool, ["x" * 1000, "a", "x" * 64], truncate=True)
        assert [one.prompt_tokens for one in found] == [64, 1, 64]
        assert found[0] == found[2]
        with pytest.raises(InvalidRequest, match="truncate"):
            embedded(pool, "a", truncate=1)


def test_truncate_keeps_what_ends_every_text():
    """Where a tokenizer puts tokens around a text (``[CLS] .. [SEP]``), they are around a cut text, too."""

    class Around(FakeEngine):
        def tokenize(self, text, *, add_special, parse_special):
            tokens = super().tokenize(text, add_special=add_special, parse_special=parse_special)
            return [300, *tokens, 301] if add_special else tokens

    engine = Around()
    seen = []
    embedding_context = engine.embedding_context

    def watched(**sizes):
        made = embedding_context(**sizes)
        decode = made.decode

        def note(batch):
            seen.extend(batch.tokens)
            decode(batch)

        made.decode = note
        return made

    engine.embedding_context = watched
    with Pool(executor=engine.executor(n_ctx=32)) as pool:
        assert pool.embed("y" * 100, truncate=True).prompt_tokens == 32
        assert pool.embed("y" * 30).prompt_tokens == 32
    assert seen == [300, *[ord("y")] * 30, 301] * 2


def test_the_timeout_of_many_texts_is_for_all_of_them(embedded):
    gate = threading.Event()

    def reply(request):
        gate.wait(0.4)
        return [1.0]

    with Pool(executor=FakeExecutor(reply)) as pool:
        with pytest.raises(DeadlineExceeded, match=r"within their timeout of 0\.6 s") as caught:
            embedded(pool, ["a"] * 1000, timeout=0.6)
        assert caught.value.timeout == 0.6
        gate.set()
        with pytest.raises(InvalidRequest, match="timeout"):
            embedded(pool, ["a"] * 1000, timeout="soon")


def test_embed_says_pool_full_at_once_and_waits_once_it_has_begun(embedded):
    executor = FakeExecutor(manual=True, slots=1)
    with Pool(executor=executor, max_queue=0) as pool:
        other = pool.submit(Raw("a"))
        wait_until(lambda: executor.taken)
        for texts in ("a", ["a"], ["a"] * 300):
            with pytest.raises(PoolFull):
                embedded(pool, texts)
        executor.finish(1)
        other.result()

        def finish_two():
            for n in (2, 3):
                wait_until(lambda n=n: len(executor.taken) == n)
                job = executor.taken[-1]
                texts = executor.jobs[job].request.input
                executor.finish(job, (Embedding(b"abcd"),) * len(texts))

        finisher = threading.Thread(target=finish_two)
        finisher.start()
        assert len(embedded(pool, ["a"] * 300)) == 300
        finisher.join()


def test_a_part_that_is_a_million_characters_long_is_full():
    batches = list(split("input", ["x" * 400_000] * 3 + ["y" * 2_000_000, "z"]))
    assert [(batch.start, len(batch.texts)) for batch in batches] == [(0, 2), (2, 1), (3, 1), (4, 1)]


def test_one_text_has_one_embedding_however_it_is_asked_for():
    """Before, `submit(Embed("a"))` gave a list, and `embed("a")` a single embedding."""
    with Pool(executor=FakeExecutor()) as pool:
        assert pool.submit(Embed("a")).result() == pool.embed("a")
        assert pool.submit(Embed(["a"])).result() == pool.embed(["a"]) == [pool.embed("a")]
        assert list(pool.map([Embed("a"), Embed(("a",))])) == [pool.embed("a"), [pool.embed("a")]]


def test_an_executor_that_gives_too_few_vectors_fails_the_call():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        calls = [pool.submit(Embed("a")), pool.submit(Embed(["a", "b"]))]
        wait_until(lambda: len(executor.taken) == 2)
        executor.finish(1, ())
        executor.finish(2, (Embedding(b"abcd"),))
        for call in calls:
            with pytest.raises(EngineError, match="vectors for"):
                call.result()


def test_an_embedding_is_an_array():
    """Before, `numpy.array(embedding)` was an array of one object."""
    one = Embedding(numpy.array([1.0, 2.0, 3.0], "<f4").tobytes())
    assert numpy.array(one).dtype == numpy.float32
    assert numpy.array(one).tolist() == [1.0, 2.0, 3.0]
    assert numpy.array([one, one]).shape == (2, 3)
    assert numpy.asarray(one, dtype="f8").dtype == numpy.float64
    assert float(numpy.dot(one, one)) == 14.0
    copied = numpy.array(one)
    copied[0] = 9.0
    assert one.vector[0] == 1.0
    assert not numpy.asarray(one).flags.writeable
    assert numpy.shares_memory(one.__array__(copy=False), one.vector)
    with pytest.raises(ValueError, match="without a copy"):
        one.__array__("f8", copy=False)


def test_an_embedding_is_a_sequence():
    one = Embedding(numpy.array([1.0, 2.5, -3.0], "<f4").tobytes(), prompt_tokens=4)
    assert (one[0], one[-1], one[1:]) == (1.0, -3.0, [2.5, -3.0])
    assert list(one) == one.tolist() == [1.0, 2.5, -3.0]
    assert len(one) == 3
    assert repr(one) == "Embedding(dimensions=3, prompt_tokens=4)"
    with pytest.raises(IndexError):
        one[3]
    assert pickle.loads(pickle.dumps(one)) == one


def test_embed_of_the_demo_model_in_batches(tiny: Model):
    texts = [f"text {n}" for n in range(300)]
    found = tiny.embed(text for text in texts)
    assert len(found) == 300
    assert numpy.allclose(found[270], tiny.embed(texts[270]), atol=1e-3)
