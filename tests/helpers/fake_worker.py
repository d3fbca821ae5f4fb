"""A worker that a test plays itself."""

from __future__ import annotations

import os
import signal
import socket
from io import FileIO

from poolinfer._executors.workers.channel import Channel, Output
from poolinfer._executors.workers.child_process import Child
from poolinfer._executors.workers.death import ExitStatus
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.restarts import RestartLimit
from poolinfer._wire.frames import FrameReader, frame, read_to_worker

QUICK = Patience(
    boot=20,
    stuck=20,
    silent=20,
    stop=0.3,
    term=0.2,
    linger=0.2,
    tick=0.05,
    restarts=RestartLimit(most=3, period=30, first=0.01, longest=0.05),
)


class FakeWorker:
    """A worker as its host sees it: the test holds the far ends of its socket and pipe, and plays its process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        ours, self.socket = socket.socketpair()
        self.socket.settimeout(20)
        reading, self._writing = os.pipe()
        far, held = os.pipe()
        os.close(far)
        self.child = Child(self, Channel(ours), Output(FileIO(reading)), FileIO(held, "wb"))
        self.signals: list[int] = []
        self.mortal = True
        self.status: ExitStatus | None = None
        self._frames = FrameReader()
        self._heard: list[object] = []

    def exit(self) -> ExitStatus | None:
        return self.status

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL or self.mortal:
            self.die(ExitStatus(signal=number))

    def say(self, *messages: object) -> None:
        self.socket.sendall(b"".join(frame(message) for message in messages))

    def hear(self) -> object:
        while not self._heard:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._heard += [read_to_worker(item) for item in self._frames.feed(data)]
        return self._heard.pop(0)

    def print(self, text: str) -> None:
        os.write(self._writing, text.encode())

    def die(self, status: ExitStatus, *, silently: bool = False) -> None:
        if self.status is None:
            self.status = status
            if not silently:
                self.close()

    def close(self) -> None:
        self.socket.close()
        writing, self._writing = self._writing, -1
        if writing >= 0:
            os.close(writing)
