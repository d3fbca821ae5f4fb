"""A nemesis beside a mixed load: every call ends once, and says nothing that belongs to another.

`POOLINFER_SOAK` is how many seconds it goes on.
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

from poolinfer import CallCancelled, Chat, DeadlineExceeded, Embed, Model, Pool, Raw, WorkerLost
from poolinfer._executors.ladder import Patience
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.restarts import RestartPolicy
from poolinfer._executors.sizing import Sizing
from poolinfer._spec import LaneSpec
from poolinfer.testing import Held, wait_until

SECONDS = float(os.environ.get("POOLINFER_SOAK", "6"))
CLIENTS = 6
CAPITALS = {"France": "Paris", "Peru": "Lima", "Iceland": "Reykjavik", "Qatar": "Doha"}
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
            act = self.random.choice([self._chat, self._chat, self._raw, self._embed, self._cancel])
            try:
                act()
                self.counts["done"] += 1
            except _LOST as error:
                self.counts[type(error).__name__] += 1
            except Exception as error:
                self.wrong.append(repr(error))

    def _chat(self) -> None:
        country, capital = self.random.choice(list(CAPITALS.items()))
        call = self.pool.submit(Chat(f"What is the capital of {country}?", temperature=0, timeout=30))
        pieces = []
        with suppress(*_LOST):
            pieces = [piece.text for piece in call]
        text = call.result().text
        if text != "".join(pieces) or text != f"The capital of {country} is {capital}.":
            self.wrong.append(f"{country}: {text!r}, {pieces}")

    def _raw(self) -> None:
        self.pool.submit(Raw("Count", max_tokens=60, temperature=1.5, timeout=30)).result()

    def _embed(self) -> None:
        if len(self.pool.submit(Embed(["a", "b"], timeout=30)).result()) != 2:
            self.wrong.append("embeddings are lost")

    def _cancel(self) -> None:
        call = self.pool.submit(Raw("Count", max_tokens=300, temperature=1.5, timeout=30))
        time.sleep(self.random.random() * 0.02)
        call.cancel()


def _torment(executor: ProcessExecutor, until: float, kills: Counter[str]) -> None:
    chance = random.Random(1)
    while time.monotonic() < until:
        time.sleep(0.3 + chance.random())
        number = chance.choice(
            [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGSTOP]
        )
        with suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(executor.pids), number)
            kills[signal.Signals(number).name] += 1


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_F73_a_nemesis_costs_calls_and_nothing_else(tiny: Model) -> None:
    before = Held.now()
    patience = Patience(stuck=1.5, tick=0.1, term=0.2, restarts=RestartPolicy(most=1_000_000, longest=0.1))
    executor = ProcessExecutor(
        tiny.spec,
        LaneSpec(slots=3, n_ctx=512),
        cancel_grace=1.0,
        sizing=Sizing(least=3, most=3, max_calls=200),
        patience=patience,
    )
    kills: Counter[str] = Counter()
    with Pool(executor=executor) as pool:
        until = time.monotonic() + SECONDS
        clients = [_Client(pool, n, until) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        _torment(executor, until, kills)
        for client in clients:
            client.join(60)
        assert not any(client.is_alive() for client in clients), "a call hangs"
        assert [wrong for client in clients for wrong in client.wrong] == []
        counts = sum((client.counts for client in clients), Counter())
        wait_until(lambda: pool.stats().busy == 0, timeout=60)
        wait_until(lambda: pool.stats().workers == 3, timeout=60)
        stats = pool.stats()
        print(
            dict(kills),
            dict(counts),
            f"crashed {executor.stats().crashed}, recycled {executor.stats().recycled}",
            stats,
        )
        assert stats.accepted == stats.succeeded + stats.failed + stats.cancelled + stats.expired
        assert counts["done"] > 0
    before.expect_no_more()
