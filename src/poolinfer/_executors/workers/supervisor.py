"""The supervisor: the link to workers that are child processes. It keeps a number of them alive.

    seating ──send──> Connection ──frames──> worker
    seating <──on_up, on_message, on_down, on_broken── one selector thread <──frames, output, exit── workers

It knows nothing of language models. `Worker` says what states a worker has. Whatever ends a worker, `_bury`
comes last.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from ..._data.errors import ModelError, PoolClosed, PoolError, PoolinferError
from ..._system.logs import SafeLog, log_again
from ..._system.machine import rss
from ..._system.threads import OwnThread
from ..._wire.codec import WireError
from ..._wire.frames import Boot, BootFailed, Burst, Logged, Pong, frame, read_from_worker
from .death import ExitStatus
from .link import LinkOwner
from .patience import Patience, PatientClock
from .poller import Poller
from .restarts import Restarts
from .spawner import Spawner
from .supervisor_state import SupervisorState
from .worker import Worker

_log = SafeLog()
_REAP_NAP = 0.005


class Supervisor:
    """Runs worker processes (`poolinfer._executors.workers.link.Link`).

    Args:
        spawner: starts them.
        boot: makes the first message to each of them.
        patience: how long to wait for what, and how often workers may die.
    """

    def __init__(self, spawner: Spawner, boot: Callable[[], Boot], patience: Patience) -> None:
        self._owner: LinkOwner
        self._spawner = spawner
        self._boot = boot
        self._patience = patience
        self._restarts = Restarts(patience.restarts)
        self._clock = PatientClock()
        self._state = SupervisorState()
        self._failure: PoolinferError | None = None
        self._poller = Poller()
        self._workers: dict[int, Worker] = {}
        self._size, self._spawned, self._next_tick = 0, 0, 0.0
        self._spawn_at: list[float] = []
        self._thread = OwnThread(target=self._run, name="poolinfer-supervisor")

    @property
    def now(self) -> float:
        """See `Link.now`."""
        return self._clock.now

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(worker.pid for worker in list(self._workers.values()) if worker.pid)

    @property
    def settled(self) -> bool:
        """Whether as many workers are up as are wanted."""
        return sum(worker.state == "up" for worker in list(self._workers.values())) == self._size

    def start(self, owner: LinkOwner, size: int) -> None:
        """Start the workers, and wait until all are up.

        Raises:
            ModelError: one could not boot; all are ended then.
            PoolClosed: `close` came first.
        """
        with self._state.changed:
            if not self._state.is_in("new"):
                raise PoolClosed("the pool was closed before it started")
            self._owner, self._size = owner, size
            self._state.name = "starting"
            self._open()
            self._state.changed.wait_for(lambda: not self._state.is_in("starting"))
            if self._state.is_in("running", "broken"):
                return
        self._thread.join()
        raise self._failure or PoolClosed("the pool was closed while it was starting")

    def _open(self) -> None:
        try:
            self._poller.open()
            self._thread.start()
        except (OSError, RuntimeError) as error:
            self._poller.close()
            self._state.name = "closed"
            raise ModelError(f"the workers' supervisor cannot start ({error})") from error

    def close(self) -> None:
        """End all workers and the thread; idempotent. Takes no longer than `Patience` lets a worker live."""
        if threading.current_thread() is self._thread:
            raise PoolError("close() was called from the pool's own thread, which it would wait for")
        with self._state.changed:
            if self._state.is_in("new"):
                self._state.name = "closed"
            if self._state.is_in("closed"):
                return
        self.run_soon(self._stop_all)
        self._thread.join()

    def run_soon(self, function: Callable[[], None]) -> None:
        """See `Link.run_soon`."""
        self._poller.run_soon(function)

    def send(self, number: int, data: bytes) -> None:
        """See `Link.send`."""
        worker = self._workers.get(number)
        if worker is not None:
            worker.connection.send(data)

    def takes_work(self, number: int) -> bool:
        """See `Link.takes_work`."""
        worker = self._workers.get(number)
        return worker is not None and worker.state == "up" and not worker.why

    def memory(self, number: int) -> int:
        """See `Link.memory`: resident bytes, pages that processes share included."""
        worker = self._workers.get(number)
        return 0 if worker is None else rss(worker.pid)

    def resize(self, size: int) -> None:
        """See `Link.resize`. A worker that is retired is not replaced where that would be too many."""
        self._size = size
        self._spawn_at += [self.now] * (size - len(self._workers) - len(self._spawn_at))

    def retire(self, number: int) -> None:
        """See `Link.retire`."""
        worker = self._workers.get(number)
        if worker is not None:
            worker.retire()

    def kill(self, number: int, why: str) -> None:
        """See `Link.kill`: SIGTERM, then SIGKILL."""
        worker = self._workers.get(number)
        if worker is not None:
            worker.kill(why)

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Of this thread alone, and inherited by what it starts: Ctrl-C in a terminal reaches a new worker too,
            # which needs half a second until it can ignore it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._spawn_at = [self.now] * self._size
        try:
            while self._workers or not self._state.is_in("closing"):
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
            self._poller.close()
            with self._state.changed:
                self._state.name = "closed"
                self._state.changed.notify_all()

    def _turn(self) -> None:
        """One round; whatever goes wrong in it must not end the thread on which all endings come."""
        due: list[Callable[[], None]] = []
        self._attempt(lambda: due.extend(self._poller.turn(self._nap())))
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
        """Seconds until something is due."""
        if any(worker.state == "dying" for worker in self._workers.values()):
            return _REAP_NAP
        due = [*self._spawn_at, *(worker.due_at for worker in self._workers.values())]
        return max(0.0, min([self._patience.tick, *(at - self.now for at in due)]))

    def _watch(self) -> None:
        """Do what is due by the clock."""
        now = self.now
        due = [at for at in self._spawn_at if at <= now]
        self._spawn_at = [at for at in self._spawn_at if at > now]
        for _ in due:
            self._spawn_one()
        for worker in list(self._workers.values()):
            status = worker.escalate()
            if status is not None:
                self._bury(worker, status)
        if now >= self._next_tick:
            self._next_tick = now + self._patience.tick
            for worker in list(self._workers.values()):
                worker.check()
            self._owner.on_tick()

    def _spawn_one(self) -> None:
        if not self._state.is_in("starting", "running"):
            return
        try:
            boot = frame(self._boot())
            child = self._spawner.spawn(self._poller)
        except Exception as error:
            self._boot_failed(ModelError(f"a worker process cannot be started: {error}"))
            return
        self._spawned += 1
        worker = Worker(self._spawned, child, self._clock, self._patience)
        worker.connect(self._poller, lambda data: self._on_message(worker, data))
        self._workers[worker.number] = worker
        worker.connection.send(boot)

    def _on_message(self, worker: Worker, data: bytes) -> None:
        message = read_from_worker(data)
        worker.answered_at = self.now
        if isinstance(message, Logged):
            log_again(message.lines, message.lost, f"worker {worker.pid}")
        elif isinstance(message, Pong | Burst):
            self._pass_on(worker, message)
        elif worker.state != "booting":
            raise WireError("a worker boots only once")
        elif isinstance(message, BootFailed):
            worker.failure = message.failure
        else:
            self._greet(worker)

    def _pass_on(self, worker: Worker, message: Pong | Burst) -> None:
        if worker.state == "booting":
            if isinstance(message, Burst):
                raise WireError("a worker that has not booted has nothing to say")
        elif self._owner.on_message(worker.number, message):
            worker.progressed_at = self.now

    def _greet(self, worker: Worker) -> None:
        if not self._state.is_in("starting", "running"):
            worker.terminate()
            return
        worker.greet()
        self._restarts.booted()
        self._owner.on_up(worker.number)
        if self.settled:
            self._state.move("running", "starting")

    def _bury(self, worker: Worker, status: ExitStatus) -> None:
        death = worker.end(status, closing=self._state.is_in("closing"))
        del self._workers[worker.number]
        if not worker.was_up:
            self._boot_failed(death.boot_error(worker.failure))
            return
        busy = self._owner.on_down(worker.number, death)
        if not death.expected:
            _log.warning("worker %d has ended: %s", worker.pid, death)
        if death.expected or worker.killed:
            self._replace(0.0)
        else:
            delay = self._restarts.died(self.now, busy)
            self._replace(delay, f"workers keep dying while idle; the last one: {death}")

    def _boot_failed(self, error: PoolinferError) -> None:
        if self._state.is_in("starting"):
            self._failure = error
            self._stop_all()
        if self._state.is_in("closing"):
            return
        _log.warning("a worker did not boot: %s", error)
        delay = self._restarts.failed_to_boot(self.now)
        if delay is None and any(worker.state == "up" for worker in self._workers.values()):
            # Those that are up can go on without it.
            delay = self._patience.restarts.longest
        self._replace(delay, f"workers do not boot; the last one: {error}")

    def _replace(self, delay: float | None, reason: str = "") -> None:
        """Have a worker started after `delay` seconds, if one is missing. None: too many have died."""
        if not self._state.is_in("starting", "running"):
            return
        if delay is None:
            self._break(reason)
        elif len(self._workers) + len(self._spawn_at) < self._size:
            self._spawn_at.append(self.now + delay)

    def _break(self, reason: str) -> None:
        self._spawn_at = []
        if self._state.is_in("starting"):
            self._failure = ModelError(reason)
            self._stop_all()
        elif self._state.move("broken", "running"):
            _log.error("the pool is broken: %s", reason)
            self._owner.on_broken(reason)
        for worker in self._workers.values():
            worker.kill("the pool is broken")

    def _stop_all(self) -> None:
        self._spawn_at = []
        self._state.move("closing", "starting", "running", "broken")
        for worker in self._workers.values():
            if worker.state == "up":
                worker.retire()
            elif worker.state == "booting":
                # It has nothing to lose, and may not listen for as long as it loads.
                worker.kill_at = self.now
