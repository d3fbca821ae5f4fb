"""The supervisor: keeps a number of worker processes alive, and tells its owner what they say.

    owner ──post──> Channel ──frames──> worker
    owner <──on_up, on_message, on_down, on_broken── one selector thread <──frames, output, exit── workers

It knows nothing of language models. A worker is ``booting``, ``up``, ``stopping`` (by wish) or ``dying``
(its socket has ended; only its exit status is awaited). Every path to a death ends in `_bury`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

from ..._data.errors import ModelError, PoolClosed, PoolError, PoolinferError
from ..._system.logs import SafeLog, repeat
from ..._system.threads import OwnThread
from ..._wire.codec import WireError
from ..._wire.frames import BootFailed, Logged, Ping, Pong, Stop, Up, frame, read_from_worker
from .connection import Connection
from .death import Exit
from .link import Owner
from .patience import Patience, PatientClock
from .poller import Poller
from .restarts import Restarts
from .spawner import Spawner
from .worker import Worker

_log = SafeLog()
_REAP_NAP = 0.005

_State: TypeAlias = Literal["new", "starting", "running", "broken", "closing", "closed"]


class Supervisor:
    """Runs `size` workers for an owner.

    Attributes:
        size: how many there are to be.
    """

    def __init__(self, owner: Owner, spawner: Spawner, size: int, patience: Patience) -> None:
        self._owner = owner
        self._spawner = spawner
        self.size = size
        self._patience = patience
        self._restarts = Restarts(patience.restarts)
        self._clock = PatientClock()
        self._changed = threading.Condition()
        self._state: _State = "new"
        self._failure: PoolinferError | None = None
        self._loop = Poller()
        self._workers: dict[int, Worker] = {}
        self._spawned, self._next_tick = 0, 0.0
        self._spawn_at: list[float] = []
        self._thread = OwnThread(target=self._run, name="poolinfer-supervisor")

    @property
    def now(self) -> float:
        """Seconds; pauses of the whole host do not count."""
        return self._clock.now

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(worker.pid for worker in list(self._workers.values()) if worker.pid)

    @property
    def settled(self) -> bool:
        """Whether as many workers are up as there are to be."""
        return sum(worker.state == "up" for worker in list(self._workers.values())) == self.size

    def resize(self, size: int) -> None:
        """Have another number of workers; one that is retired is not replaced. Supervisor's thread only."""
        self.size = size
        self._spawn_at += [self.now] * (size - len(self._workers) - len(self._spawn_at))

    def start(self) -> None:
        """Start the workers, and wait until all are up.

        Raises:
            ModelError: one could not boot; all are ended then.
            PoolClosed: `close` came first.
        """
        with self._changed:
            if self._state != "new":
                raise PoolClosed("the pool was closed before it started")
            self._state = "starting"
            self._open()
            self._changed.wait_for(lambda: not self._is("starting"))
            if self._is("running", "broken"):
                return
        self._thread.join()
        raise self._failure or PoolClosed("the pool was closed while it was starting")

    def _open(self) -> None:
        try:
            self._loop.open()
            self._thread.start()
        except (OSError, RuntimeError) as error:
            self._loop.close()
            self._state = "closed"
            raise ModelError(f"the workers' supervisor cannot start ({error})") from error

    def close(self) -> None:
        """End all workers and the thread; bounded by the kill ladder. Idempotent."""
        if threading.current_thread() is self._thread:
            raise PoolError("close() was called from the pool's own thread, which it would wait for")
        with self._changed:
            if self._state == "new":
                self._state = "closed"
            if self._state == "closed":
                return
        self.call(self._stop_all)
        self._thread.join()

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called on the supervisor's thread; from any thread."""
        self._loop.call(function)

    def post(self, worker: Worker, data: bytes) -> None:
        """Send a frame to a worker, without waiting; from any thread. Lost when the worker is gone."""
        worker.line.post(data)

    def kill(self, worker: Worker, why: str) -> None:
        """End a worker that does not do what it should: SIGTERM, then SIGKILL. Supervisor's thread only."""
        if worker.why or worker.state == "dying":
            return
        worker.why, worker.killed = why, True
        worker.terminate(self.now, self._patience)

    def retire(self, worker: Worker) -> None:
        """Replace a worker that has nothing to do; no death counts for that. Supervisor's thread only."""
        if worker.state == "up":
            worker.state, worker.expected = "stopping", True
            worker.term_at = self.now + self._patience.stop
            self.post(worker, frame(Stop()))

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Of this thread alone, and inherited by what it starts: Ctrl-C in a terminal reaches a new worker too,
            # which needs half a second until it can ignore it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._spawn_at = [self.now] * self.size
        try:
            while self._workers or self._state != "closing":
                self._turn()
        except BaseException as error:  # no round may end so; if one does, no call is to wait for ever
            _log.exception("the supervisor has ended")
            self._failure = ModelError(f"the supervisor has ended: {error!r}")
            self._owner.on_broken(str(self._failure))
            for worker in self._workers.values():
                worker.process.send_signal(signal.SIGKILL)
                worker.child.close()
        finally:
            self._spawner.close()
            self._loop.close()
            with self._changed:
                self._state = "closed"
                self._changed.notify_all()

    def _turn(self) -> None:
        """One round; whatever goes wrong in it must not end the thread on which all endings come."""
        due: list[Callable[[], None]] = []
        self._attempt(lambda: due.extend(self._loop.turn(self._nap())))
        self._clock.tick()
        for act in [*due, self._watch]:
            self._attempt(act)

    def _attempt(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            _log.exception("the supervisor failed")
            self._break(f"the supervisor failed: {error!r}")

    def _nap(self) -> float:
        if any(worker.state == "dying" for worker in self._workers.values()):
            return _REAP_NAP
        due = [*self._spawn_at, *(worker.due for worker in self._workers.values())]
        return max(0.0, min([self._patience.tick, *(at - self.now for at in due)]))

    def _watch(self) -> None:
        """Everything that is due by the clock."""
        now = self.now
        due = [at for at in self._spawn_at if at <= now]
        self._spawn_at = [at for at in self._spawn_at if at > now]
        for _ in due:
            self._spawn_one()
        for worker in list(self._workers.values()):
            self._climb(worker, now)
        if now >= self._next_tick:
            self._next_tick = now + self._patience.tick
            for worker in list(self._workers.values()):
                self._check_alive(worker, now)
            self._owner.on_tick()

    def _climb(self, worker: Worker, now: float) -> None:
        """The kill ladder, and the end of it."""
        worker.climb(now, self._patience)
        if now >= worker.give_up_at and worker.state != "dying":
            self._lose(worker)
        if worker.state == "dying":
            status = worker.process.exit()
            if status is None and now >= worker.give_up_at:
                status = Exit()
            if status is not None:
                self._bury(worker, status)

    def _check_alive(self, worker: Worker, now: float) -> None:
        if worker.state == "dying":
            return
        if worker.exited:
            # Its last words have been heard, and yet the stream has no end: somebody else holds its end of the
            # socket, a child that the host forked just when the worker was made.
            self._lose(worker)
            return
        worker.exited = worker.process.exit() is not None
        why = "" if worker.exited else worker.overdue(now, self._patience)
        if why:
            self.kill(worker, why)
        elif worker.pid and worker.state in ("booting", "up"):
            self.post(worker, frame(Ping()))

    def _spawn_one(self) -> None:
        if not self._is("starting", "running"):
            return
        try:
            boot = frame(self._owner.boot_message())
            child = self._spawner.spawn(self._loop)
        except Exception as error:
            self._boot_failed(ModelError(f"a worker process cannot be started: {error}"))
            return
        self._spawned += 1
        worker = self._workers[self._spawned] = Worker(self._spawned, child, self.now)
        worker.line = Connection(
            child, self._loop, lambda data: self._hear(worker, data), lambda why: self._on_end(worker, why)
        )
        self.post(worker, boot)

    def _on_end(self, worker: Worker, why: str) -> None:
        if why:
            # Nothing more that it says counts, so it need not be asked politely.
            worker.why = worker.why or why
            worker.process.send_signal(signal.SIGKILL)
        self._lose(worker)

    def _hear(self, worker: Worker, data: bytes) -> None:
        message = read_from_worker(data)
        worker.answered = self.now
        if isinstance(message, Logged):
            repeat(message.lines, message.lost, f"worker {worker.pid}")
        elif isinstance(message, Up | BootFailed):
            if worker.state != "booting":
                raise WireError("a worker boots only once")
            if isinstance(message, Up):
                self._greet(worker)
            else:
                worker.failure = message.failure
        elif worker.state != "booting":
            self._owner.on_message(worker, message)
        elif not isinstance(message, Pong):
            raise WireError("a worker that has not booted has nothing to say")

    def _greet(self, worker: Worker) -> None:
        if self._state not in ("starting", "running"):
            worker.terminate(self.now, self._patience)
            return
        worker.state, worker.heard, worker.was_up = "up", self.now, True
        self._restarts.booted()
        self._owner.on_up(worker)
        if self.settled:
            self._move("running", "starting")

    def _lose(self, worker: Worker) -> None:
        """The socket has ended. A crash may take a moment to become an exit status; then it is killed."""
        worker.state = "dying"
        worker.kill_at = min(worker.kill_at, self.now + self._patience.linger)
        worker.line.cut()

    def _bury(self, worker: Worker, status: Exit) -> None:
        death = worker.end(status, closing=self._state == "closing")
        del self._workers[worker.number]
        if not worker.was_up:
            self._boot_failed(death.boot_error(worker.failure))
            return
        busy = self._owner.on_down(worker, death)
        if not death.expected:
            _log.warning("worker %d has ended: %s", worker.pid, death)
        if death.expected or worker.killed:
            self._again(0.0)
        else:
            self._again(
                self._restarts.died(self.now, busy), f"workers keep dying while idle; the last one: {death}"
            )

    def _boot_failed(self, error: PoolinferError) -> None:
        if self._state == "starting":
            self._failure = error
            self._stop_all()
        if self._state == "closing":
            return
        _log.warning("a worker did not boot: %s", error)
        delay = self._restarts.failed_to_boot(self.now)
        if delay is None and any(worker.state == "up" for worker in self._workers.values()):
            # Those that are up can go on without it.
            delay = self._patience.restarts.longest
        self._again(delay, f"workers do not boot; the last one: {error}")

    def _again(self, delay: float | None, reason: str = "") -> None:
        """Have a worker started where one is missing, unless all is over or that was one death too many."""
        if self._state not in ("starting", "running"):
            return
        if delay is None:
            self._break(reason)
        elif len(self._workers) + len(self._spawn_at) < self.size:
            self._spawn_at.append(self.now + delay)

    def _break(self, reason: str) -> None:
        self._spawn_at = []
        if self._state == "starting":
            self._failure = ModelError(reason)
            self._stop_all()
        elif self._move("broken", "running"):
            _log.error("the pool is broken: %s", reason)
            self._owner.on_broken(reason)
        for worker in self._workers.values():
            self.kill(worker, "the pool is broken")

    def _stop_all(self) -> None:
        self._spawn_at = []
        self._move("closing", "starting", "running", "broken")
        for worker in self._workers.values():
            if worker.state == "up":
                self.retire(worker)
            elif worker.state == "booting":
                # It has nothing to lose, and may not listen for as long as it loads.
                worker.kill_at = self.now

    def _is(self, *states: _State) -> bool:
        return self._state in states

    def _move(self, to: _State, *allowed: _State) -> bool:
        with self._changed:
            moved = self._state in allowed
            if moved:
                self._state = to
                self._changed.notify_all()
            return moved
