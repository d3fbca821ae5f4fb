"""A nemesis beside a mixed load: every call ends once and on time, and says nothing that belongs to another.

`POOLINFER_SOAK` is how many seconds each executor's run goes on (``nox -s soak``). Worker processes are killed, and
stopped, and sometimes continued; calls are cancelled, and run out of time, in every executor.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from poolinfer import (
    Call,
    CallCancelled,
    Chat,
    DeadlineExceeded,
    Embed,
    Model,
    Pool,
    PoolStats,
    Raw,
    WorkerLost,
)
from poolinfer._data.requests import Request
from poolinfer._data.specs import LaneSpec
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.sizing import Sizing
from poolinfer._executors.workers import zygote
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.workers.restarts import RestartLimit
from poolinfer._system.machine import rss
from poolinfer.testing import Held, wait_until

SECONDS = float(os.environ.get("POOLINFER_SOAK", "4"))
PERIOD = 2.0 if SECONDS >= 60 else 0.5
#: Most seconds that a call may end after its deadline. A short run shares its machine with other tests.
MOST_LATE = 0.25 if SECONDS >= 60 else 2.0
CLIENTS = 6
CAPITALS = {"France": "Paris", "Peru": "Lima", "Iceland": "Reykjavik", "Qatar": "Doha"}
CANARIES = ("apple", "river", "stone", "cloud", "tiger", "lemon", "piano", "chair")
SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGSTOP, signal.SIGSTOP)
MOST_GROWTH = 64 * 2**20
_LOST = (WorkerLost, CallCancelled, DeadlineExceeded)


class _Client(threading.Thread):
    """Calls on and on, and checks what comes back, and when."""

    def __init__(self, pool: Pool, seed: int, until: float) -> None:
        super().__init__(name=f"client-{seed}")
        self.pool, self.random, self.until = pool, random.Random(seed), until
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.late: list[float] = []
        self.late_cancels: list[float] = []

    def run(self) -> None:
        acts = [self._chat, self._canary, self._raw, self._embed, self._cancel, self._expire]
        while time.monotonic() < self.until:
            act = self.random.choice(acts)
            try:
                act()
                self.counts["done"] += 1
            except _LOST as error:
                self.counts[type(error).__name__] += 1
                if isinstance(error, WorkerLost) and error.suspect:
                    self.counts["WorkerLost.suspect"] += 1
            except Exception as error:
                self.wrong.append(repr(error))

    def _submit(self, request: Request) -> Call[Any]:
        """Submit a request with a seed of its own. Equal requests would be one to the quarantine."""
        if not isinstance(request, Embed):
            request = replace(request, seed=self.random.getrandbits(31))
        self.counts["submitted"] += 1
        return self.pool.submit(request)

    def _result(self, request: Request) -> Any:
        """The result, on time."""
        due = time.monotonic() + (request.timeout or 0.0)
        try:
            return self._submit(request).result()
        except DeadlineExceeded:
            self.late.append(time.monotonic() - due)
            raise

    def _ask(self, prompt: str) -> str:
        """The answer to a question, read as a stream; what was streamed has to be what is returned."""
        call = self._submit(Chat(prompt, temperature=0, timeout=30))
        pieces = []
        with suppress(*_LOST):
            pieces = [piece.text for piece in call]
        text = call.result().text
        if text != "".join(pieces):
            self.wrong.append(f"{prompt}: {text!r}, {pieces}")
        return text

    def _chat(self) -> None:
        country, capital = self.random.choice(list(CAPITALS.items()))
        text = self._ask(f"What is the capital of {country}?")
        if text != f"The capital of {country} is {capital}.":
            self.wrong.append(f"{country}: {text!r}")

    def _canary(self) -> None:
        mine = self.random.sample(CANARIES, 2)
        text = self._ask(f"Repeat after me: {' '.join(mine)}")
        if any(word in text for word in CANARIES if word not in mine):
            self.wrong.append(f"{mine}: {text!r}")

    def _raw(self) -> None:
        self._result(Raw("Count", max_tokens=60, temperature=1.5, timeout=30))

    def _embed(self) -> None:
        texts = [f"{self.random.random()}" for _ in range(2)]
        if len(self._result(Embed(texts, timeout=30))) != 2:
            self.wrong.append("embeddings are lost")

    def _cancel(self) -> None:
        call = self._submit(Raw("Count", max_tokens=300, temperature=1.5, timeout=30))
        time.sleep(self.random.random() * 0.02)
        call.cancel()
        began = time.monotonic()
        with suppress(*_LOST):
            call.result()
        self.late_cancels.append(time.monotonic() - began)

    def _expire(self) -> None:
        """A call whose deadline comes before its end, or about then."""
        seconds = self.random.choice((0.01, 0.05, 0.2))
        self._result(Raw("Count", max_tokens=400, temperature=1.5, timeout=seconds))


class _Timer(threading.Thread):
    """Sleeps, and sees how late it wakes up: what the machine and the interpreter cost anybody who waits."""

    def __init__(self) -> None:
        super().__init__(name="timer")
        self.late: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            due = time.monotonic() + 0.02
            time.sleep(0.02)
            self.late.append(time.monotonic() - due)


class _Nemesis:
    """Kills and stops workers at random, the zygote too; continues some that it has stopped."""

    def __init__(self, executor: ProcessExecutor | None, until: float) -> None:
        self._executor = executor
        self._until = until
        self._random = random.Random(1)
        self._stopped: list[int] = []
        self._ever_stopped: set[int] = set()
        self.kills: Counter[str] = Counter()

    def run(self) -> int:
        """Strike until time is up.

        Returns:
            The bytes of memory of the host after a quarter of the time.
        """
        settled, memory = time.monotonic() + SECONDS / 4, 0
        while time.monotonic() < self._until:
            time.sleep(PERIOD * (0.5 + self._random.random()))
            if self._executor is not None:
                self._strike(self._executor)
            if not memory and time.monotonic() >= settled:
                memory = rss(os.getpid())
        if self._executor is not None:
            self._relent(self._executor)
        return memory

    def _relent(self, executor: ProcessExecutor) -> None:
        """Continue what is still stopped: a worker that is stopped while it boots has ten seconds to be up."""
        for pid in self._ever_stopped.intersection([*executor.pids, executor.zygote]):
            self._send(pid, signal.SIGCONT)

    def _strike(self, executor: ProcessExecutor) -> None:
        victims = [*executor.pids, *filter(None, [executor.zygote])]
        for pid in set(victims) & set(self._stopped):
            if self._random.random() < 0.5:
                self._send(pid, signal.SIGCONT)
        self._stopped.clear()
        if victims:
            victim, number = self._random.choice(victims), self._random.choice(SIGNALS)
            self._send(victim, number)
            if number == signal.SIGSTOP:
                self._stopped.append(victim)
                self._ever_stopped.add(victim)

    def _send(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            self.kills[number.name] += 1


def _late(seconds: list[float]) -> str:
    """The worst and the 99.9th percentile, in milliseconds."""
    if not seconds:
        return "-"
    found = sorted(seconds)
    return f"{1000 * found[-1]:.0f}, {1000 * found[int(0.999 * (len(found) - 1))]:.0f}"


def _print_table(
    name: str, kills: Counter[str], clients: list[_Client], timer: _Timer, stats: PoolStats, growth: int
) -> None:
    counts = sum((client.counts for client in clients), Counter())
    rows = {
        **{f"signal {name}": n for name, n in sorted(kills.items())},
        **{f"calls: {name}": n for name, n in sorted(counts.items())},
        **{
            name: getattr(stats, name) for name in ("accepted", "succeeded", "failed", "cancelled", "expired")
        },
        "workers crashed": stats.crashed,
        "workers recycled": stats.recycled,
        "deadlines missed by, ms": _late([late for client in clients for late in client.late]),
        "a bare timer was late by, ms": _late(timer.late),
        "cancels took, ms": _late([late for client in clients for late in client.late_cancels]),
        "host's memory grew by, MiB": f"{growth / 2**20:.1f}",
    }
    print(f"\n{name}: {SECONDS:.0f} s, {CLIENTS} clients, {stats.workers} workers of 3 slots")
    print("\n".join(f"  {name:30} {value:>10}" for name, value in rows.items()))


def _make_executor(tiny: Model, prefork: bool) -> ProcessExecutor:
    restarts = RestartLimit(most=1_000_000, longest=0.1)
    patience = Patience(boot=10.0, stuck=1.5, silent=1.0, tick=0.1, term=0.2, restarts=restarts)
    return ProcessExecutor(
        tiny.spec,
        LaneSpec(slots=3, n_ctx=512),
        cancel_grace=1.0,
        sizing=Sizing(least=3, most=3, max_calls=200),
        patience=patience,
        prefork=prefork,
    )


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("name", ["thread", "process", "prefork"])
def test_F73_a_nemesis_costs_calls_and_nothing_else(
    tiny: Model, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if SECONDS < 60:
        # The zygote may be stopped when the pool closes, which waits for it for so long.
        monkeypatch.setattr(zygote, "_STOPPED_SECONDS", 0.5)
    before = Held.now()
    faulthandler.dump_traceback_later(SECONDS + 60)
    executor = None if name == "thread" else _make_executor(tiny, name == "prefork")
    workers = 2 if executor is None else 3
    made = Pool(tiny, workers=2, slots=3, n_ctx=512) if executor is None else Pool(executor=executor)
    with made as pool:
        until = time.monotonic() + (SECONDS if executor or SECONDS >= 60 else SECONDS / 2)
        clients = [_Client(pool, n, until) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        timer = _Timer()
        timer.start()
        nemesis = _Nemesis(executor, until)
        memory = nemesis.run()
        timer.over.set()
        timer.join()
        for client in clients:
            client.join(60)
        assert not any(client.is_alive() for client in clients), "a call hangs"
        wait_until(lambda: pool.stats().busy == 0, timeout=60)
        wait_until(lambda: pool.stats().workers == workers, timeout=60)
        stats, growth = pool.stats(), rss(os.getpid()) - memory
        _print_table(name, nemesis.kills, clients, timer, stats, growth)
        counts = sum((client.counts for client in clients), Counter())
        assert [wrong for client in clients for wrong in client.wrong] == []
        assert stats.accepted == stats.succeeded + stats.failed + stats.cancelled + stats.expired
        assert stats.accepted == counts["submitted"]
        assert counts["done"] > 0
        late = [late for client in clients for late in client.late]
        assert late, "no call ran out of time"
        assert max(late) < MOST_LATE
        assert growth < MOST_GROWTH
    before.expect_no_more()
