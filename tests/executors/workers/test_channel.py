"""The host's ends of a worker: what comes in any pieces is read, and nothing blocks."""

from __future__ import annotations

import os
import socket
from io import FileIO

import pytest

from poolinfer import Chat, Chunk, Response
from poolinfer._data.events import Done, Failed, Job, Started
from poolinfer._data.stats import ExecutorStats
from poolinfer._executors.workers.channel import Channel, Output
from poolinfer._wire import frames
from poolinfer._wire.frames import (
    Burst,
    FrameReader,
    Ping,
    Pong,
    Submit,
    Up,
    frame,
    read_from_worker,
)
from poolinfer._worker.worker_socket import pack


def test_all_events_that_have_gathered_are_one_frame():
    said = [(1, Started(1)), Pong(ExecutorStats()), (2, Chunk("a")), (1, Chunk("b"))]
    pong, burst = map(read_from_worker, FrameReader().feed(pack(said)))
    assert isinstance(pong, Pong)
    assert burst == Burst(((1, Started(1)), (2, Chunk("a")), (1, Chunk("b"))))


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.settimeout(20)
    yield channel, theirs
    channel.close()
    theirs.close()


def test_F10_a_peer_that_does_not_read_never_blocks_the_sender(ends):
    channel, theirs = ends
    data = frame(Submit(Job(1, Chat("a" * 4_000_000))))
    assert not channel.send(data)
    received = bytearray()
    while len(received) < len(data):
        received += theirs.recv(1 << 20)
        channel.flush()
    assert received == data
    assert channel.flush()


def test_F10_the_stream_may_end_in_the_middle_of_a_frame(ends):
    channel, theirs = ends
    theirs.send(frame(Up())[:-1])
    theirs.close()
    assert list(channel.receive()) == []
    with pytest.raises(EOFError):
        channel.receive()


def test_sending_to_a_peer_that_is_gone_is_no_error(ends):
    channel, theirs = ends
    theirs.close()
    for _ in range(3):
        assert channel.send(frame(Ping()))
    channel.close()
    channel.close()
    assert channel.send(frame(Ping()))


def test_F62_the_last_of_the_output_is_kept():
    reading, writing = os.pipe()
    output = Output(FileIO(reading))
    assert output.read()
    for n in range(100):
        os.write(writing, b"x" * 1000 + str(n).encode())
        if n % 10 == 0:
            output.drain()
    os.write(writing, b"the end \xff")
    os.close(writing)
    output.drain()
    assert output.text.endswith("99the end \ufffd")
    assert len(output.text) <= 8192
    assert not output.read()
    output.close()
    output.close()


def test_an_answer_that_fits_no_frame_fails_alone(monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME", 400)
    said = [(1, Started(1)), (1, Chunk("x" * 500)), (1, Done(Response("x" * 500))), (2, Chunk("a"))]
    found = [read_from_worker(data) for data in FrameReader().feed(pack(said))]
    (first, failed), *_ = [event for burst in found[1:] for event in burst.events]
    assert first == 1
    assert isinstance(failed, Failed)
    assert "cannot be sent" in failed.message
    assert [event for burst in found for event in burst.events][-1] == (2, Chunk("a"))
