"""`ExecutorContract`: the laws of executors as tests, for an executor of anyone's.

    from poolinfer import Raw
    from poolinfer.testing import ExecutorContract

    class TestMyExecutor(ExecutorContract):
        slots = 4
        long = Raw("word " * 2_000)  # takes a while on this executor

        def make_executor(self):
            return MyExecutor(slots=self.slots)

Its methods raise `AssertionError` and need no fixture: every runner that collects methods called ``test_*`` runs
them. `poolinfer.executor.Executor` says what the laws are; the name of each test begins with its law's number.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import anyio

from .._data.errors import CallCancelled, PoolClosed
from .._data.events import Done, Event, Failed, Job
from .._data.requests import Chat, Raw, Request
from .._data.results import Chunk, Response
from .._data.text_requests import Embed
from .._executors.executor_protocol import Executor
from .._pool.pool import Pool
from .._wire.codec import WireError, decode, encode
from ._executor_under_test import ExecutorUnderTest, RecordedEvents, check_order
from ._expect import check, wait_until
from ._forked_child import check_in_child
from ._held_resources import Held

_SaidT = TypeVar("_SaidT", bound=Job | Event)


class ExecutorContract:
    """Holds an executor to the laws of executors: derive a test class, and override `make_executor`.

    Attributes:
        workers: lanes of the executor that `make_executor` makes.
        slots: jobs that each lane takes at once.
        embeds: whether the executor can embed.
        patience: seconds after which a test gives up waiting; 30 if not set.
        short: a request that ends by itself, soon. It has to have the same answer each time.
        long: a request that runs for as long as possible, so that jobs can be cancelled while they run.
    """

    workers: int = 1
    slots: int = 4
    embeds: bool = True
    patience: float = 30.0
    short: Chat | Raw = Chat("What is the capital of France?", max_tokens=8, temperature=0)
    long: Chat | Raw = Chat("Count from 1 to 60.", temperature=0)

    def make_executor(self) -> Executor:
        """Make an executor, and do not start it. Each test makes its own."""
        raise NotImplementedError

    def kill_worker(self, executor: Executor) -> bool:  # noqa: ARG002  (for overriding)
        """Kill one worker of a started executor that runs jobs, and return True. False where there is none to kill.

        Override it for an executor that has workers: without it, nothing tests L5.
        """
        return False

    @property
    def capacity(self) -> int:
        """Jobs that run at once."""
        return self.workers * self.slots

    @contextmanager
    def started(self) -> Iterator[ExecutorUnderTest]:
        """A started executor, which is closed at the end."""
        executor = self.make_executor()
        try:
            yield ExecutorUnderTest(executor, self.patience)
        finally:
            executor.close(0.0)

    def test_l1_each_job_ends_once_and_last(self) -> None:
        """Every accepted job yields ``Started? Chunk* (Done | Failed)``."""
        with self.started() as tested:
            witnesses = [tested.submit(self.short)[1] for _ in range(3 * self.capacity)]
            for witness in witnesses:
                check(isinstance(witness.wait(self.patience), Done), f"L1: {witness.endings}")
        for witness in witnesses:
            check_order(witness.events)

    def test_l1_chunks_joined_are_the_result(self) -> None:
        """What is streamed is what is returned."""
        with self.started() as tested:
            _, witness = tested.submit(self.short)
            ending = witness.wait(self.patience)
        check(isinstance(ending, Done) and isinstance(ending.result, Response), f"L1: {ending}")
        joined = "".join(event.text for event in witness.events if isinstance(event, Chunk))
        check(joined == ending.result.text, f"L1: chunks {joined!r}, result {ending.result.text!r}")  # type: ignore[union-attr]

    def test_l1_an_impossible_job_ends_too(self) -> None:
        """A job that the model cannot do is taken, and ends."""
        with self.started() as tested:
            _, witness = tested.submit(Raw("long " * 100_000, max_tokens=1))
            witness.wait(self.patience)
            check(isinstance(tested.submit(self.short)[1].wait(self.patience), Done), "L1: the next fails")

    def test_l2_never_from_inside(self) -> None:
        """Events come on the executor's own threads."""
        with self.started() as tested:
            found = [tested.submit(self.short) for _ in range(2 * self.capacity)]
            for job_id, _ in found:
                tested.executor.cancel(job_id)
            for _, witness in found:
                witness.wait(self.patience)
                check(
                    threading.current_thread() not in witness.threads, "L2: emitted inside submit or cancel"
                )

    def test_l3_full_is_an_answer(self) -> None:
        """A full executor says so at once; it takes no more than it has room for."""
        with self.started() as tested:
            began = time.monotonic()
            found = tested.fill(self.long, 50 * self.capacity)
            tested.executor.stats()
            check(time.monotonic() - began < self.patience, "L3: submit blocked")
            live = [witness for _, witness in found if not witness.over.is_set()]
            check(len(live) <= self.capacity, f"L3: {len(live)} live jobs in {self.capacity} slots")

    def test_l3_unknown_ids_are_ignored(self) -> None:
        """Cancelling what is not there is no error."""
        with self.started() as tested:
            tested.executor.cancel(987_654_321)
            job_id, witness = tested.submit(self.short)
            witness.wait(self.patience)
            tested.executor.cancel(job_id)
        check_order(witness.events)

    def test_l4_cancel_ends_a_running_job(self) -> None:
        """The ending comes soon, once, and says so."""
        with self.started() as tested:
            job_id, witness = tested.submit(self.long)
            wait_until(lambda: witness.events, "the first event", self.patience)
            for _ in range(3):
                tested.executor.cancel(job_id)
            ending = witness.wait(self.patience)
        check(isinstance(ending, Done) or ending.kind == "CallCancelled", f"L4: {ending}")
        check_order(witness.events)

    def test_l4_cancel_before_the_start(self) -> None:
        """A cancel that comes with the job is not lost."""
        with self.started() as tested:
            for _ in range(4 * self.capacity):
                job_id, witness = tested.submit(self.long)
                tested.executor.cancel(job_id)
                witness.wait(self.patience)
                check_order(witness.events)

    def test_l5_a_death_fails_only_its_own(self) -> None:
        """Room comes back after a worker's death, and at most its own jobs fail."""
        with self.started() as tested:
            found = tested.fill(self.long, self.capacity)
            if not self.kill_worker(tested.executor):
                return
            endings = [witness.wait(self.patience) for _, witness in found]
            lost = [ending for ending in endings if isinstance(ending, Failed)]
            check(all(ending.kind == "WorkerLost" for ending in lost), f"L5: {lost}")
            check(len(lost) <= self.slots, f"L5: {len(lost)} jobs lost with one worker")
            tested.submit(self.short)[1].wait(self.patience)

    def test_l6_room_is_there_when_an_ending_is_said(self) -> None:
        """From inside the emit of an ending, the next job is taken."""
        with self.started() as tested:
            taken: list[bool] = []
            then = RecordedEvents()
            follower = tested.job(self.short)
            found = tested.fill(self.long, self.capacity)
            for _, witness in found:
                witness.then = lambda: taken.append(not taken and tested.executor.submit(follower, then))
            for job_id, _ in found:
                tested.executor.cancel(job_id)
            for _, witness in found:
                witness.wait(self.patience)
            if taken:
                check(taken[0], "L6: refused while an ending made room")
                then.wait(self.patience)

    def test_l6_all_room_comes_back(self) -> None:
        """After a storm of cancels nothing is busy."""
        with self.started() as tested:
            for n in range(8 * self.capacity):
                job_id, witness = tested.submit(self.long if n % 3 else self.short)
                if n % 2:
                    tested.executor.cancel(job_id)
                witness.then = lambda: None
                if n % self.capacity == 0:
                    tested.executor.cancel(job_id)
                    witness.wait(self.patience)
                elif n % 2 == 0:
                    threading.Timer(0, tested.executor.cancel, (job_id,)).start()
            wait_until(lambda: tested.executor.stats().busy == 0, "L6: busy == 0", self.patience)

    def test_l7_close_leaves_nothing(self) -> None:
        """No thread, child or descriptor; every job has ended first."""
        self._warm()
        before = Held.now()
        with self.started() as tested:
            found = tested.fill(self.long, self.capacity)
            tested.executor.close(0.0)
            for _, witness in found:
                check(witness.over.is_set(), "L7: close returned before a job had ended")
        for _, witness in found:
            check_order(witness.events)
        before.expect_no_more()

    def test_l7_close_lets_jobs_end(self) -> None:
        """Within the grace, jobs end by themselves."""
        with self.started() as tested:
            found = tested.fill(self.short, self.capacity)
            tested.executor.close(self.patience)
            for _, witness in found:
                check(witness.over.is_set() and isinstance(witness.endings[0], Done), f"L7: {witness.events}")

    def test_l7_close_is_idempotent_and_thread_safe(self) -> None:
        """Closing from several threads, and again, is no error; nothing is taken any more."""
        with self.started() as tested:
            tested.fill(self.long, self.capacity)
            closers = [threading.Thread(target=tested.executor.close, args=(0.0,)) for _ in range(4)]
            for closer in closers:
                closer.start()
            for closer in closers:
                closer.join(self.patience)
                check(not closer.is_alive(), "L7: close hangs")
            check(tested.try_submit(self.short) is None, "L7: a closed executor took a job")
            tested.executor.cancel(1)
            tested.executor.stats()

    def test_l7_close_without_a_start(self) -> None:
        """An executor that never started closes, and then does not start."""
        before = Held.now()
        executor = self.make_executor()
        executor.close(0.0)
        try:
            executor.start(lambda: None)
        except PoolClosed:
            before.expect_no_more()
        else:
            raise AssertionError("L7: start after close did not raise PoolClosed")

    def test_l8_not_across_a_fork(self) -> None:
        """In a forked child every method raises ForkedPool; the parent goes on."""
        if not hasattr(os, "fork"):
            return
        with self.started() as tested:
            _, witness = tested.submit(self.long)
            executor, job = tested.executor, tested.job(self.short)
            check_in_child(
                lambda: executor.start(lambda: None),
                lambda: executor.submit(job, RecordedEvents()),
                lambda: executor.cancel(1),
                executor.stats,
                lambda: executor.close(0.0),
            )
            tested.executor.cancel(1)
            witness.wait(self.patience)
            check(isinstance(tested.submit(self.short)[1].wait(self.patience), Done), "L8: the parent fails")

    def test_l9_data_only(self) -> None:
        """Jobs and events survive an encode/decode round trip."""
        requests: list[Request] = [self.short, Raw("a", max_tokens=2, logprobs=True, top_logprobs=2)]
        if self.embeds:
            requests.append(Embed(["one text", "another"]))
        with self.started() as tested:
            for request in requests:
                witness = RecordedEvents()
                taken = tested.executor.submit(_transmitted(tested.job(request)), witness)
                check(taken, "L9: refused while empty")
                witness.wait(self.patience)
                for event in witness.events:
                    _transmitted(event)

    def test_a_pool_in_sync_code(self) -> None:
        """The calls of a pool: whole, streamed, mapped, cancelled."""
        with Pool(executor=self.make_executor()) as pool:
            whole = pool.submit(self.short).result().text
            call = pool.stream(self.short)
            check("".join(chunk.text for chunk in call) == call.result().text, "a stream is its result")
            mapped = [response.text for response in pool.map([self.short] * 3 * self.capacity)]
            check(set(mapped) == {whole}, f"the same greedy call differs: {set(mapped)}")
            with pool.submit(self.long) as call:
                pass
            wait_until(call.done, "leaving the block ends the call:", self.patience)
            wait_until(lambda: pool.stats().busy == 0, "busy == 0", self.patience)
            stats = pool.stats()
        check(stats.accepted == stats.succeeded + stats.cancelled, f"calls are lost: {stats}")

    def test_a_pool_on_asyncio(self) -> None:
        """The same from asyncio."""
        anyio.run(self._use_pool, backend="asyncio")

    def test_a_pool_on_trio(self) -> None:
        """The same from trio."""
        anyio.run(self._use_pool, backend="trio")

    async def _use_pool(self) -> None:
        texts: list[str] = []
        async with Pool(executor=self.make_executor()) as pool:

            async def ask() -> None:
                texts.append((await pool.submit(self.short)).text)

            async with anyio.create_task_group() as group:
                for _ in range(3 * self.capacity):
                    group.start_soon(ask)
            call = pool.stream(self.short)
            texts_of_chunks = [chunk.text async for chunk in call]
            check("".join(texts_of_chunks) == (await call).text, "a stream is its result")
            async with pool.submit(self.long) as call:
                pass
            await self._expect_cancelled(call)
        check(len(set(texts)) == 1, f"the same greedy call differs: {set(texts)}")

    async def _expect_cancelled(self, call: Any) -> None:
        try:
            await call
        except CallCancelled:
            return
        check(call.done(), "leaving the block ends the call")

    def _warm(self) -> None:
        """Let what is loaded once per process be loaded."""
        with self.started() as tested:
            tested.submit(self.short)[1].wait(self.patience)


def _transmitted(said: _SaidT) -> _SaidT:
    """A job or an event as it comes out of another process."""
    try:
        again = decode(encode(said))
    except WireError as error:
        raise AssertionError(f"L9: {said} cannot travel: {error}") from error
    check(again == said, f"L9: {said} became {again}")
    return cast("_SaidT", again)
