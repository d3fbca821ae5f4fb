"""What a pool's process and its workers say to each other: messages, and the frames that carry them.

    host ──> worker    Boot, then Submit | Cancel | Ping | Stop
    worker ──> host    Up | BootFailed, then Burst | Pong, and Logged at any time
    host ──> zygote    Boot, then Fork (with two descriptors) | Signal | Reap
    zygote ──> host    Up | BootFailed, then Forked | Reaped, and Logged at any time

A frame is a length (4 bytes, big-endian) and a message as strict JSON (`poolinfer._wire.codec`). All events that an
engine step gave rise to travel in one `Burst`. What a worker sends is never trusted: size, syntax, type and
the types of all fields are checked before anything is done with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from .._data.events import Done, Failed, Job, Started
from .._data.results import Chunk
from .._data.specs import LaneSpec, ModelSpec
from .._data.stats import ExecutorStats
from .._system.logs import Line
from .codec import WireError, decode, encode, register
from .type_check import conforms

#: Most bytes of one message.
MAX_FRAME = 64 * 2**20
_HEAD = 4


@dataclass(frozen=True, slots=True)
class Boot:
    """The first message to a worker: load this.

    Attributes:
        factory: what loads the engine, as ``"module:function"`` inside poolinfer.
        spec: the model.
        lane: how to run it.
        knobs: keyword arguments for the factory.
        levels: what the host wants of the log (`poolinfer._system.logs.wanted`).
    """

    factory: str
    spec: ModelSpec
    lane: LaneSpec
    knobs: Mapping[str, object] = field(default_factory=dict)
    levels: tuple[int, int] = (logging.WARNING, logging.NOTSET)


@dataclass(frozen=True, slots=True)
class Submit:
    """Run a job."""

    job: Job


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a job soon."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Say how you are."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End all jobs, and then yourself."""


@dataclass(frozen=True, slots=True)
class Up:
    """The worker has loaded its engine."""


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The worker could not load its engine, and ends."""

    failure: Failed


@dataclass(frozen=True, slots=True)
class Pong:
    """How the worker is; a lane that is stuck cannot move the count of steps."""

    stats: ExecutorStats


@dataclass(frozen=True, slots=True)
class Burst:
    """Events, each with the id of its job, in order."""

    events: tuple[tuple[int, Started | Chunk | Done | Failed], ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """What the process has logged.

    Attributes:
        lines: logger, level and text of each.
        lost: how many lines before these could not be kept.
    """

    lines: tuple[Line, ...]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a worker; its socket, what it prints to, and its lifeline come as descriptors.

    Attributes:
        number: what to call it.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to a forked worker, unless it was reaped."""

    number: int
    signal: int


@dataclass(frozen=True, slots=True)
class Reap:
    """Say how a forked worker has ended, if it has."""

    number: int


@dataclass(frozen=True, slots=True)
class Forked:
    """A worker was forked."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class Reaped:
    """The answer to `Reap`.

    Attributes:
        number: the worker.
        running: whether it has not ended.
        code: its exit status, if it exited.
        signal: the number of the signal that killed it.
    """

    number: int
    running: bool
    code: int | None = None
    signal: int | None = None


ToWorker: TypeAlias = Boot | Submit | Cancel | Ping | Stop
FromWorker: TypeAlias = Up | BootFailed | Pong | Burst | Logged
ToZygote: TypeAlias = Boot | Fork | Signal | Reap
FromZygote: TypeAlias = Up | BootFailed | Forked | Reaped | Logged

register(ModelSpec, LaneSpec, ExecutorStats, Boot, Submit, Cancel, Ping, Stop, Up, BootFailed, Pong, Burst)
register(Fork, Signal, Reap, Forked, Reaped, Logged)


def frame(message: ToWorker | FromWorker | ToZygote | FromZygote) -> bytes:
    """The frame that carries a message.

    Raises:
        WireError: the message is no plain data, or too long.
    """
    data = encode(message)
    if len(data) > MAX_FRAME:
        raise WireError(f"a message of {len(data):,} bytes is over the limit of {MAX_FRAME:,}")
    return len(data).to_bytes(_HEAD, "big") + data


def read_from_worker(data: bytes) -> FromWorker:
    """What a worker said.

    Raises:
        WireError: nothing that a worker may say.
    """
    return cast("FromWorker", _read(data, FromWorker, conforms, "a worker may not send"))


def read_to_worker(data: bytes) -> ToWorker:
    """What a worker was told.

    Raises:
        WireError: nothing that a worker understands.
    """
    return cast("ToWorker", _read(data, ToWorker, isinstance, "a worker does not understand"))


def read_from_zygote(data: bytes) -> FromZygote:
    """What a zygote said.

    Raises:
        WireError: nothing that a zygote may say.
    """
    return cast("FromZygote", _read(data, FromZygote, conforms, "a zygote may not send"))


def read_to_zygote(data: bytes) -> ToZygote:
    """What a zygote was told.

    Raises:
        WireError: nothing that a zygote understands.
    """
    return cast("ToZygote", _read(data, ToZygote, isinstance, "a zygote does not understand"))


def _read(data: bytes, kinds: Any, fits: Callable[[object, Any], bool], refusal: str) -> object:
    """A message of certain kinds. The host trusts no child, and has `conforms` look at the fields, too."""
    message = decode(data)
    if not fits(message, kinds):
        raise WireError(f"{refusal} this {type(message).__name__}")
    return message


class FrameReader:
    """Cuts a stream of bytes into the messages of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; the messages that are complete now.

        Raises:
            WireError: a frame says that it is longer than any may be.
        """
        self._buffer += data
        while len(self._buffer) >= _HEAD:
            end = _HEAD + int.from_bytes(self._buffer[:_HEAD], "big")
            if end > _HEAD + MAX_FRAME:
                raise WireError(f"a frame of {end - _HEAD:,} bytes is over the limit of {MAX_FRAME:,}")
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_HEAD:end])
            del self._buffer[:end]
            yield message
