"""Messages and frames: they survive the way, and nothing that a child process sends is trusted."""

from __future__ import annotations

import contextlib
import json

import pytest
from corrupt_frames import CORRUPT
from hypothesis import given
from hypothesis import strategies as st

from poolinfer import Chat, Chunk, Embedding, EngineError, Response, Usage
from poolinfer._data.events import Done, Failed, Job, Started
from poolinfer._data.logprobs import TokenLogprob
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._data.stats import ExecutorStats
from poolinfer._wire.codec import WireError
from poolinfer._wire.frames import (
    MAX_FRAME,
    Boot,
    BootFailed,
    Burst,
    Cancel,
    FrameReader,
    Ping,
    Pong,
    Stop,
    Submit,
    Up,
    frame,
    read_from_worker,
    read_to_worker,
)

SPEC = ModelSpec("m.gguf", (1, 2, 3, 4), chat_template="{{ a }}", repack=False)
TO_WORKER = [
    Boot("poolinfer._engine.llama.library:load", SPEC, LaneSpec(slots=2), {"a": 1}),
    Submit(Job(1, Chat("hello", stop=("a",), logit_bias={3: 0.5}))),
    Cancel(1),
    Ping(),
    Stop(),
]
EVENTS = (
    (1, Started(7)),
    (2, Chunk("a", "b", "c", (TokenLogprob(1, "\ufffd", -0.5, ((1, "\ufffd", -0.5),), ((1, b"\xc3"),)),))),
    (2, Done(Response("text", "text", usage=Usage(1, 0, 2)))),
    (3, Done((Embedding(b"\0\0\x80?"),))),
    (4, Failed.of(EngineError("no", partial="text so far"))),
)
FROM_WORKER = [
    Up(),
    BootFailed(Failed("ModelError", "no file", {})),
    Pong(ExecutorStats(1, 2, 3, 4, 5, 6, 7, 8, 0.25, 1, 2, (3,), True)),
    Burst(EVENTS),
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda item: type(item).__name__)
def test_messages_to_a_worker_survive(message):
    (data,) = FrameReader().feed(frame(message))
    assert read_to_worker(data) == message


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda item: type(item).__name__)
def test_messages_from_a_worker_survive(message):
    (data,) = FrameReader().feed(frame(message))
    assert read_from_worker(data) == message


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_frames_come_in_any_pieces(step):
    stream = b"".join(map(frame, FROM_WORKER))
    reader = FrameReader()
    found = [
        read_from_worker(data)
        for n in range(0, len(stream), step)
        for data in reader.feed(stream[n : n + step])
    ]
    assert found == FROM_WORKER


@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT.keys())
def test_F63_corrupt_messages_are_refused(data):
    with pytest.raises(WireError):
        read_from_worker(data)


@given(st.binary(max_size=200))
def test_F63_any_bytes_are_refused_or_understood(data):
    try:
        list(FrameReader().feed(data))
        read_from_worker(data)
    except WireError:
        pass


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["!", "!m", "!b", "events", "text", "stats"]), inner, max_size=3
            )
        ),
    )
)
def test_F63_any_json_is_refused_or_understood(value):
    with contextlib.suppress(WireError):
        read_from_worker(json.dumps(value).encode())


@pytest.mark.parametrize("length", [MAX_FRAME + 1, 2**31, 2**32 - 1])
def test_F63_a_length_over_the_limit_is_refused_before_it_is_read(length):
    with pytest.raises(WireError, match="limit"):
        list(FrameReader().feed(length.to_bytes(4, "big")))


def test_too_long_a_message_is_not_sent():
    with pytest.raises(WireError, match="limit"):
        frame(Submit(Job(1, Chat("a" * (MAX_FRAME + 1)))))
