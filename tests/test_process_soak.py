"""A nemesis beside a mixed load: every call ends once, and says nothing that belongs to another.

`POOLINFER_SOAK` is how many seconds each executor's run goes on (``nox -s soak``).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from poolinfer import CallCancelled, Chat, DeadlineExceeded, Embed, Model, Pool, PoolStats, Raw, WorkerLost
from poolinfer._executors.ladder import Patience
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.restarts import RestartPolicy
from poolinfer._executors.seats import rss
from poolinfer._executors.sizing import Sizing
from poolinfer._spec import LaneSpec
from poolinfer.testing import Held, wait_until

SECONDS = float(os.environ.get("POOLINFER_SOAK", "6"))
PERIOD = 2.0 if SECONDS >= 60 else 0.8
CLIENTS = 6
CAPITALS = {"France": "Paris", "Peru": "Lima", "Iceland": "Reykjavik", "Qatar": "Doha"}
CANARIES = ("apple", "river", "stone", "cloud", "tiger", "lemon", "piano", "chair")
SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGSTOP)
MOST_GROWTH = 64 * 2**20
_LOST = (WorkerLost, CallCancelled, DeadlineExceeded)


class _Client(threading.Thread):
    """Calls on and on, and checks what comes back."""

    def __init__(self, pool: Pool, seed: int, until: float) -> None:
        super().__init__(name=f"client-{seed}")
        self.pool, self.random, self.until = pool, random.Random(seed), until
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        while time.monotonic() < self.until:
            act = self.random.choice([self._chat, self._canary, self._raw, self._embed, self._cancel])
            try:
                act()
                self.counts["done"] += 1
            except _LOST as error:
                self.counts[type(error).__name__] += 1
            except Exception as error:
                self.wrong.append(repr(error))

    def _ask(self, prompt: str) -> str:
        """The answer to a question, read as a stream; what was streamed has to be what is returned."""
        call = self.pool.submit(Chat(prompt, temperature=0, timeout=30))
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
        self.pool.submit(Raw("Count", max_tokens=60, temperature=1.5, timeout=30)).result()

    def _embed(self) -> None:
        if len(self.pool.submit(Embed(["a", "b"], timeout=30)).result()) != 2:
            self.wrong.append("embeddings are lost")

    def _cancel(self) -> None:
        call = self.pool.submit(Raw("Count", max_tokens=300, temperature=1.5, timeout=30))
        time.sleep(self.random.random() * 0.02)
        call.cancel()


def _torment(executor: ProcessExecutor, until: float, kills: Counter[str]) -> int:
    """Kill at random, the zygote too; the host's memory after the first quarter."""
    chance = random.Random(1)
    settled, memory = time.monotonic() + SECONDS / 4, 0
    while time.monotonic() < until:
        time.sleep(PERIOD * (0.5 + chance.random()))
        victims = [*executor.pids, *filter(None, [executor.zygote])]
        number = chance.choice(SIGNALS)
        with suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(victims), number)
            kills[signal.Signals(number).name] += 1
        if not memory and time.monotonic() >= settled:
            memory = rss(os.getpid())
    return memory


def _print_table(kills: Counter[str], counts: Counter[str], stats: PoolStats, growth: int) -> None:
    rows = {
        **{f"signal {name}": n for name, n in sorted(kills.items())},
        **{f"calls: {name}": n for name, n in sorted(counts.items())},
        **{
            name: getattr(stats, name) for name in ("accepted", "succeeded", "failed", "cancelled", "expired")
        },
        "workers crashed": stats.crashed,
        "workers recycled": stats.recycled,
        "host's memory grew by, MiB": f"{growth / 2**20:.1f}",
    }
    print(f"\n{SECONDS:.0f} s, {CLIENTS} clients, 3 workers of 3 slots")
    print("\n".join(f"  {name:28} {value:>8}" for name, value in rows.items()))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("prefork", [False, True], ids=["process", "prefork"])
def test_F73_a_nemesis_costs_calls_and_nothing_else(tiny: Model, prefork: bool) -> None:
    before = Held.now()
    restarts = RestartPolicy(most=1_000_000, longest=0.1)
    patience = Patience(boot=10.0, stuck=1.5, tick=0.1, term=0.2, restarts=restarts)
    executor = ProcessExecutor(
        tiny.spec,
        LaneSpec(slots=3, n_ctx=512),
        cancel_grace=1.0,
        sizing=Sizing(least=3, most=3, max_calls=200),
        patience=patience,
        prefork=prefork,
    )
    kills: Counter[str] = Counter()
    with Pool(executor=executor) as pool:
        until = time.monotonic() + SECONDS
        clients = [_Client(pool, n, until) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        memory = _torment(executor, until, kills)
        for client in clients:
            client.join(60)
        assert not any(client.is_alive() for client in clients), "a call hangs"
        wait_until(lambda: pool.stats().busy == 0, timeout=60)
        wait_until(lambda: pool.stats().workers == 3, timeout=60)
        stats, growth = pool.stats(), rss(os.getpid()) - memory
        counts = sum((client.counts for client in clients), Counter())
        _print_table(kills, counts, stats, growth)
        assert [wrong for client in clients for wrong in client.wrong] == []
        assert stats.accepted == stats.succeeded + stats.failed + stats.cancelled + stats.expired
        assert counts["done"] > 0
        assert growth < MOST_GROWTH
    before.expect_no_more()
