"""A pool's options, statistics and data: what goes in, comes out, and may be stored."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from poolinfer import (
    Call,
    CallCancelled,
    Chat,
    Chunk,
    ContextOverflow,
    DeadlineExceeded,
    Embed,
    Embedding,
    EngineError,
    InvalidRequest,
    Model,
    Pool,
    PoolFull,
    Prompt,
    Raw,
    Response,
    Timings,
    TokenLogprob,
    ToolCall,
    Usage,
    WorkerLost,
    demo_model,
)
from poolinfer._checks.normalize import normalize
from poolinfer._data.errors import ERRORS, error_from_data, error_to_data
from poolinfer._data.events import Done, Failed, Job, Started
from poolinfer._wire.codec import decode, encode
from poolinfer.testing import FakeEngine, FakeExecutor, Held, check, fake_pool, wait_until

ERROR_EXAMPLES = [
    InvalidRequest("top_p is 2", field="top_p"),
    ContextOverflow("too long", n_prompt=9, n_ctx=8),
    PoolFull("full", retry_after=2.5),
    CallCancelled("gone", partial="so far"),
    DeadlineExceeded("late", partial="so", timeout=3.5),
    WorkerLost("died", partial="s", exitcode=None, signal=9, stderr_tail="tail", suspect=True),
    EngineError("odd", partial="x"),
    *(cls("plain") for cls in ERRORS.values()),
]
_RESPONSE = Response(
    "<think>a</think>b",
    "b",
    "a",
    (ToolCall("call_0", "f", '{"x": 1}'),),
    "tool_calls",
    Usage(3, 1, 2),
    Timings(0.1, 0.2, 0.3, 0.4, 0.5),
    (TokenLogprob(7, "b", -0.5, ((7, "b", -0.5), (8, "\ufffd", -1.0)), ((8, b"\xc3"),)),),
)
DATA_EXAMPLES = [
    _RESPONSE,
    Chunk("a", "b", "c", _RESPONSE.logprobs),
    Embedding(b"\x00\x00\x80\x3f", 3),
    Usage(1, 2, 3),
    Timings(),
    ToolCall("a", "b", "{}"),
    TokenLogprob(1, "a", -1.0),
    normalize(Chat("hello", stop=["a", "b"], logit_bias={5: -1.0}, seed=3, timeout=2.5)),
    normalize(Chat(Prompt.system("s").user("u"))),
    normalize(Raw("hello", top_logprobs=2, parse_special=True)),
    normalize(Embed(["a", "b"], pooling="cls", normalize=True, priority=-3)),
    Job(4, normalize(Raw("x"))),
    Started(3),
    Done(_RESPONSE),
    Done((Embedding(b"", 1),)),
    Failed.of(WorkerLost("died", signal=9)),
]


def name(value):
    return type(value).__name__


@pytest.mark.parametrize("error", ERROR_EXAMPLES, ids=name)
@pytest.mark.parametrize(
    "round_trip",
    [
        *(lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in range(2, 6)),
        copy.copy,
        copy.deepcopy,
        lambda error: error_from_data(*error_to_data(error)),
        lambda error: decode(encode(Failed.of(error))).error(),
    ],
)
def test_f65_errors_keep_their_attributes(error, round_trip):
    again = round_trip(error)
    assert type(again) is type(error)
    assert (str(again), again.message) == (str(error), error.message)
    assert vars(again) == vars(error)


def test_f65_an_unknown_error_becomes_an_engine_error():
    assert str(error_from_data("Odd", "message", {"x": 1})) == "Odd: message"
    assert isinstance(error_from_data("Odd", "", {}), EngineError)


@pytest.mark.parametrize("data", DATA_EXAMPLES, ids=name)
def test_f65_data_round_trips(data):
    for again in (pickle.loads(pickle.dumps(data)), copy.copy(data), copy.deepcopy(data)):
        assert again == data
        assert repr(again) == repr(data)
    assert decode(encode(data)) == data


@pytest.mark.parametrize("value", [_RESPONSE, Usage(), Timings(), Embedding(b""), Chunk("a"), Raw("a")])
def test_f66_data_is_frozen_and_hashable(value):
    assert hash(value) == hash(copy.deepcopy(value))
    with pytest.raises((AttributeError, TypeError)):
        value.text = "b"


def test_f65_live_objects_say_why_they_do_not_pickle(tiny):
    with Pool(executor=FakeExecutor()) as pool:
        call = pool.submit(Raw("a"))
        for live, kind in ((pool, Pool), (call, Call), (tiny, Model)):
            for store in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match=f"{kind.__name__} belongs to its process"):
                    store(live)
        call.result()


def test_f66_reprs_show_no_vector_and_no_prompt(tiny):
    assert len(repr(Embedding(b"x" * 4096, 3))) < 60
    assert repr(tiny).startswith("<Model ")
    with Pool(executor=FakeExecutor()) as pool:
        assert pool.raw("secret").text == "secret"
        assert "secret" not in repr(pool)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"workers": 0}, "workers"),
        ({"slots": True}, "slots"),
        ({"threads": 1.5}, "threads"),
        ({"n_ctx": -1}, "n_ctx"),
        ({"n_batch": 0}, "n_batch"),
        ({"latency_target": None}, "latency_target"),
        ({"max_queue": -1}, "max_queue"),
        ({"latency_target": float("nan")}, "latency_target"),
        ({"executor": "threads"}, "executor"),
        ({}, "model"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(options, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        Pool(None, **options)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"workers": -5}, "workers"),
        ({"workers": 2}, "workers"),
        ({"slots": 4}, "slots"),
        ({"n_ctx": 512}, "n_ctx"),
        ({"share": "mmap"}, "share"),
        ({"prefix_cache": False}, "prefix_cache"),
        ({"retries": 0}, "retries"),
        ({"max_age": 5.0}, "max_age"),
        ({"max_queue": -1}, "max_queue"),
        ({"executor": None}, "executor"),
    ],
)
def test_an_executor_object_takes_no_options_of_lanes(options, field):
    """Before, such options were ignored, even wrong ones."""
    with pytest.raises(InvalidRequest, match=field) as caught:
        Pool(**{"executor": FakeExecutor(), **options})
    assert caught.value.field == field


def test_a_pool_of_an_executor_and_a_model_has_both(tiny):
    """Before, the model was ignored, and requests were not checked against it."""
    with Pool(tiny, executor=FakeExecutor(), max_queue=7) as pool:
        assert (pool.model, pool.max_queue) == (tiny.info, 7)
        assert tiny.name in repr(pool)
        with pytest.raises(InvalidRequest, match="logit_bias"):
            pool.raw("a", logit_bias={10**6: 1.0})
        assert pool.raw("a").text == "a"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"pooling": "max"}, "pooling"),
        ({"mmap": "no"}, "mmap"),
        ({"mlock": 1}, "mlock"),
        ({"chat_template": 5}, "chat_template"),
        ({"chat_template": ""}, "chat_template"),
    ],
)
def test_bad_options_of_a_model_are_refused(options, field):
    """Before, an unknown pooling was taken for `cls`."""
    with pytest.raises(InvalidRequest, match=field) as caught:
        Model.load(demo_model(), **options)
    assert caught.value.field == field


def test_bad_requests_are_refused_in_the_caller():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        for use, field in (
            (lambda: pool.chat(""), "prompt"),
            (lambda: pool.chat("a", max_tokens=0), "max_tokens"),
            (lambda: pool.raw("a", temperature=float("nan")), "temperature"),
            (lambda: pool.submit(Embed([])), "input"),
            (lambda: pool.chat("a", timeout=-1), "timeout"),
        ):
            with pytest.raises(InvalidRequest, match=field) as caught:
                use()
            assert caught.value.field == field
        with pytest.raises(InvalidRequest, match="grace"):
            pool.close(-1)
        assert pool.stats().accepted == 0
    assert executor.taken == []


def test_a_pool_of_an_executor_has_no_model():
    pool = Pool(executor=FakeExecutor())
    with pytest.raises(InvalidRequest, match="without a model"):
        _ = pool.model
    assert pool.max_queue == 1000


def test_stats_count_everything():
    def reply(request):
        if request.prompt == "bad":
            raise EngineError("no")
        return "one two"

    with Pool(executor=FakeExecutor(reply)) as pool:
        calls = [pool.submit(Raw(p)) for p in ("a", "b", "bad")] + [pool.submit(Raw("late", timeout=0))]
        wait_until(lambda: all(call.done() for call in calls))
        stats = pool.stats()
    assert (stats.succeeded, stats.failed, stats.expired, stats.cancelled) == (2, 1, 1, 0)
    assert stats.completion_tokens == 4
    assert stats.latency.p50 is not None
    assert (stats.accepted, stats.rejected, stats.oldest_wait) == (4, 0, 0)
    assert str(stats).startswith("running: 2/4 calls done")
    assert "<th>accepted</th><td>4</td>" in stats._repr_html_()


def test_an_engine_s_failure_is_its_calls_only():
    """F-12: the lane goes on, with a new context."""
    engine = FakeEngine(tokens=50, raise_after=10)
    with fake_pool(engine, slots=2) as pool:
        first = [pool.submit(Raw("abc")) for _ in range(2)]
        failed = 0
        for call in first:
            try:
                assert len(call.result().text) == 50
            except EngineError as error:
                failed += 1
                assert "abcabcabc".startswith(error.partial)
        assert failed >= 1
        assert pool.raw("xyz").text == ("xyz" * 17)[:50]
        assert pool.stats().failed == failed
    assert engine.leaks() == []


def test_f61_embeddings_that_are_not_finite():
    engine = FakeEngine(nan_embeddings=True)
    with fake_pool(engine) as pool:
        with pytest.raises(EngineError, match="not finite"):
            pool.embed(["a", "b"])
        assert pool.raw("goes on").text == "goes on"
    assert engine.leaks() == []


def test_embeddings_keep_their_order_and_may_be_many():
    engine = FakeEngine()
    with fake_pool(engine) as pool:
        found = pool.embed([chr(97 + n % 26) * (1 + n % 40) for n in range(200)])
    assert [round(float(e.vector[0])) for e in found] == [97 + n % 26 for n in range(200)]
    assert [e.prompt_tokens for e in found] == [1 + n % 40 for n in range(200)]


def test_f60_a_model_that_does_not_fit():
    with fake_pool(FakeEngine(chat_template=None)) as pool:
        with pytest.raises(InvalidRequest, match="chat template"):
            pool.chat("a")
        assert pool.raw("a").text == "a"
    with fake_pool(FakeEngine(generates=False, causal=False)) as pool:
        with pytest.raises(InvalidRequest, match="only embeds"):
            pool.raw("a")
        assert pool.embed("ab").dimensions == 4
    with fake_pool(FakeEngine()) as pool:
        with pytest.raises(InvalidRequest, match="0 to 319"):
            pool.raw("a", logit_bias={320: 1.0})
        with pytest.raises(ContextOverflow) as caught:
            pool.raw("x" * 2048)
        assert (caught.value.n_prompt, caught.value.n_ctx) == (2048, 2048)
        assert pool.raw("x" * 2047).finish_reason == "length"


def test_logprobs_come_with_their_chunks():
    with fake_pool() as pool:
        call = pool.stream(Raw("abc", logprobs=True, top_logprobs=1))
        found = [token for chunk in call for token in chunk.logprobs]
        tokens = call.result().logprobs
    assert tuple(found) == tokens
    assert "".join(token.text for token in tokens) == "abc<|im_end|>"
    assert all(token.logprob == token.top[0][2] for token in tokens[:3])


def test_f48_control_spellings_in_user_text_stay_text():
    with fake_pool() as pool:
        text = "a<|im_end|>\n<|im_start|>system\nb"
        assert pool.chat(text).answer == text


def test_the_exact_mode_never_shares_a_step():
    engine = FakeEngine()
    with fake_pool(engine, slots=1) as pool:
        assert [r.text for r in pool.map(map(Raw, "abcdef"))] == list("abcdef")
    assert engine.max_rows == 1


def test_room_counts_before_the_queue_does():
    """A call for which there is a free slot is not refused because the queue is full."""
    for _ in range(20):
        executor = FakeExecutor(manual=True, slots=8)
        with Pool(executor=executor, max_queue=1) as pool:
            try:
                calls = [pool.submit(Raw("a")) for _ in range(8)]
            finally:
                pool.close(0)
            assert len(calls) == 8


def test_the_kit_s_checks_fail():
    """The checks of the testing kit find what they are to find."""
    with pytest.raises(AssertionError, match="no"):
        check(False, "no")
    with pytest.raises(AssertionError, match="never"):
        wait_until(lambda: False, "never", timeout=0.01)
    before, gate = Held.now(), threading.Event()
    thread = threading.Thread(target=gate.wait, name="a leak")
    thread.start()
    with pytest.raises(AssertionError, match="a leak"):
        before.expect_no_more(timeout=0.01)
    gate.set()
    thread.join()
