"""What a pool's process and its workers say to each other: messages, and the frames that carry them.

    host ──> worker    Boot, then Submit | Cancel | Ping | Stop
    worker ──> host    Up | BootFailed, then Burst | Pong, and Logged at any time
    host ──> zygote    Boot, then Fork (with three descriptors) | Signal | Reap
    zygote ──> host    Up | BootFailed, then Forked | Reaped, and Logged at any time

A frame is a length (4 bytes, big-endian) and a message as strict JSON (`poolinfer._wire.codec`). The events of one
engine step travel together, in one `Burst`. What a child process sends is never trusted: its size, its syntax, its
type and the types of all its fields are checked before anything is done with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast, get_args

from .._data.events import Event, Failed, Job
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
    """The first message to a worker or a zygote: load this model.

    Attributes:
        factory: what loads the engine, as ``"module:function"`` inside poolinfer.
        spec: the model.
        lane: how the worker's lane runs the model.
        factory_options: keyword arguments for the factory.
        levels: the least log levels that the host wants (`poolinfer._system.logs.wanted_levels`).
    """

    factory: str
    spec: ModelSpec
    lane: LaneSpec
    factory_options: Mapping[str, object] = field(default_factory=dict)
    levels: tuple[int, int] = (logging.WARNING, logging.NOTSET)


@dataclass(frozen=True, slots=True)
class Submit:
    """Run a job."""

    job: Job


@dataclass(frozen=True, slots=True)
class Cancel:
    """End this job soon."""

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
    """The answer to `Ping`, also sent without one: how the worker is.

    Attributes:
        stats: a snapshot of the worker. While its lane is stuck, the count of steps stands still.
    """

    stats: ExecutorStats


@dataclass(frozen=True, slots=True)
class Burst:
    """Events in their order, each with the id of its job."""

    events: tuple[tuple[int, Event], ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """What the child process has logged.

    Attributes:
        lines: logger, level and text of each line.
        lost: how many lines before these could not be kept.
    """

    lines: tuple[Line, ...]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a worker. Three descriptors come with this message.

    They are the worker's socket, the descriptor that the worker prints to, and its lifeline.

    Attributes:
        number: the worker's number, by which later messages name it.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to a forked worker that has not been reaped yet.

    Attributes:
        number: the worker.
        signal: the number of the signal.
    """

    number: int
    signal: int


@dataclass(frozen=True, slots=True)
class Reap:
    """Say how a forked worker has ended, or that it has not.

    Attributes:
        number: the worker.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Forked:
    """A worker was forked.

    Attributes:
        number: the worker.
        pid: process id of the worker.
    """

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class Reaped:
    """The answer to `Reap`.

    Attributes:
        number: the worker.
        running: whether the worker still runs.
        code: exit status of the worker, if it exited.
        signal: the number of the signal that killed it, if one did.
    """

    number: int
    running: bool
    code: int | None = None
    signal: int | None = None


ToWorker: TypeAlias = Boot | Submit | Cancel | Ping | Stop
FromWorker: TypeAlias = Up | BootFailed | Pong | Burst | Logged
ToZygote: TypeAlias = Boot | Fork | Signal | Reap
FromZygote: TypeAlias = Up | BootFailed | Forked | Reaped | Logged

register(ToWorker, FromWorker, ToZygote, FromZygote)


def frame(message: ToWorker | FromWorker | ToZygote | FromZygote) -> bytes:
    """The frame that carries a message.

    Raises:
        WireError: the message holds something that is not plain data, or is too long.
    """
    data = encode(message)
    if len(data) > MAX_FRAME:
        raise WireError(f"a message of {len(data):,} bytes is over the limit of {MAX_FRAME:,}")
    return len(data).to_bytes(_HEAD, "big") + data


def read_from_worker(data: bytes) -> FromWorker:
    """What a worker said.

    Raises:
        WireError: a worker may not say this.
    """
    return cast("FromWorker", _from_child("a worker", data, FromWorker))


def read_from_zygote(data: bytes) -> FromZygote:
    """What a zygote said.

    Raises:
        WireError: a zygote may not say this.
    """
    return cast("FromZygote", _from_child("a zygote", data, FromZygote))


def read_to_worker(data: bytes) -> ToWorker:
    """What a worker was told.

    Raises:
        WireError: a worker does not understand this.
    """
    return cast("ToWorker", _from_host("a worker", data, ToWorker))


def read_to_zygote(data: bytes) -> ToZygote:
    """What a zygote was told.

    Raises:
        WireError: a zygote does not understand this.
    """
    return cast("ToZygote", _from_host("a zygote", data, ToZygote))


def _from_child(sender: str, data: bytes, messages: object) -> object:
    """A message whose fields are all of their declared types: a child process may send anything."""
    message = decode(data)
    if not conforms(message, messages):
        raise WireError(f"{sender} may not send this {type(message).__name__}")
    return message


def _from_host(receiver: str, data: bytes, messages: object) -> object:
    """A message of a right kind: the host, which the child process trusts, has made its fields."""
    message = decode(data)
    if not isinstance(message, get_args(messages)):
        raise WireError(f"{receiver} does not understand {type(message).__name__}")
    return message


class FrameReader:
    """Cuts a stream of bytes into the messages of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, and give the messages that are complete now.

        Raises:
            WireError: a frame says that it is longer than `MAX_FRAME`.
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
