"""Lanes that a test steps by hand, on a fake engine with a virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from poolinfer import Raw, Request
from poolinfer._data.events import Done, Event, Job
from poolinfer._data.results import Response, Usage
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.engine_protocol import Batch, EngineAborted
from poolinfer._engine.guide.guides import Guides
from poolinfer._engine.lane.lane import Lane
from poolinfer._engine.lane.preparation import prepare
from poolinfer._engine.lane.slot import Task
from poolinfer._engine.prompt.prompter import Prompter
from poolinfer.testing import FakeEngine
from poolinfer.testing._fake_context import FakeContext, FakeRectangle

N_CTX = 4096
C = TypeVar("C", bound=FakeContext)


class CostedEngine(FakeEngine):
    """Steps of a virtual clock: `base` seconds if somebody decodes, and `per_row` for each row of a prompt.

    A copy costs as much as a row for each 128 tokens that a sequence can hold.
    """

    base, per_row = 0.050, 0.002
    # Tests that run over paged KV, too, set this.
    paged_by: int | None = None

    def __init__(
        self, tokens: int | None = None, raise_after: int | None = None, kv_reuse: bool = True
    ) -> None:
        super().__init__(tokens=tokens, raise_after=raise_after, kv_reuse=kv_reuse, block_size=self.paged_by)
        self.now = 100.0
        self.steps_rows: list[dict[int, int]] = []
        self.abort_at: int | None = None
        self._copied = 0

    def join_rows(self, since: int) -> None:
        """Count what was decoded since as one step."""
        joined: dict[int, int] = {}
        for rows in self.steps_rows[since:]:
            for sequence, n in rows.items():
                joined[sequence] = joined.get(sequence, 0) + n
        self.steps_rows[since:] = [joined] if joined else []

    def kept(self, context: C) -> C:
        decode = context.decode
        copied_cells = context.n_ctx if isinstance(context, FakeRectangle) else 0
        embeds = isinstance(context, FakeRectangle) and context.embeds

        def costed(batch: Batch) -> None:
            rows: dict[int, int] = {}
            assert embeds or batch.sequences == sorted(batch.sequences)
            for sequence in batch.sequences:
                rows[sequence] = rows.get(sequence, 0) + 1
            self.steps_rows.append(rows)
            prompt = sum(n for n in rows.values() if n > 1)
            base = self.base if 1 in rows.values() else 0.0
            copies, self._copied = len(context.copies) - self._copied, len(context.copies)
            self.now += base + self.per_row * (prompt + copies * copied_cells // 128)
            if len(self.steps_rows) == self.abort_at:
                if len(batch) > 1:
                    decode(_half(batch))
                raise EngineAborted("stopped")
            decode(batch)

        context.decode = costed  # type: ignore[method-assign]
        return super().kept(context)


def _half(batch: Batch) -> Batch:
    """What a step that was stopped half way leaves behind."""
    n = len(batch) // 2
    return Batch(batch.tokens[:n], batch.positions[:n], batch.sequences[:n], batch.outputs[:n])


@dataclass
class Ride:
    """A lane that the test steps by hand, and what its tasks said."""

    engine: CostedEngine
    slots: int = 4
    n_ctx: int = N_CTX
    prefix_cache: bool = True
    kv_tokens: int | None = None
    said: dict[int, list[Event]] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spec = LaneSpec(
            slots=self.slots,
            n_ctx=self.n_ctx,
            n_batch=512,
            prefix_cache=self.prefix_cache,
            kv_tokens=self.kv_tokens,
        )
        self.lane = Lane(self.engine, spec, lambda: self.engine.now)
        self.prompter, self.guides = Prompter(self.engine), Guides(self.engine)

    def join(self, job_id: int, request: Request) -> None:
        self.said[job_id] = []
        emit, n_ctx = self.said[job_id].append, self.n_ctx
        task = prepare(Job(job_id, request), emit, self.engine, self.prompter, self.guides, n_ctx)
        self.tasks[job_id] = task
        self.lane.expect()
        self.lane.add(task)

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            done = len(self.engine.steps_rows)
            self.lane._step()
            self.engine.join_rows(done)

    def run(self) -> None:
        while not all(task.ended for task in self.tasks.values()):
            self.step()

    def ask(self, job_id: int, request: Request) -> str:
        """Join, and step until all have ended."""
        self.join(job_id, request)
        self.run()
        return self.text(job_id)

    def cancel(self, job_id: int) -> None:
        self.lane.cancel(self.tasks[job_id])

    def response(self, job_id: int) -> Response:
        last = self.said[job_id][-1]
        assert isinstance(last, Done), last
        assert isinstance(last.result, Response)
        return last.result

    def text(self, job_id: int) -> str:
        return self.response(job_id).text

    def usage(self, job_id: int) -> Usage:
        return self.response(job_id).usage

    @property
    def context(self) -> FakeContext:
        return self.engine.contexts[-1]


def raw(text: str, max_tokens: int | None = None, cache_key: str | None = None) -> Raw:
    return Raw(text, temperature=0.0, max_tokens=max_tokens, cache_key=cache_key)


def burst(ride: Ride, lengths: list[int], tokens: int = 40) -> None:
    """So many calls at once; every answer is its own prompt's."""
    texts = [
        f"{chr(65 + n)}{n}." + chr(97 + n) * (length - len(f"{n}") - 2) for n, length in enumerate(lengths)
    ]
    for n, text in enumerate(texts):
        ride.join(n, raw(text, max_tokens=tokens))
    ride.run()
    for n, text in enumerate(texts):
        assert ride.text(n) == (text * (1 + tokens // len(text)))[:tokens]
        assert ride.usage(n).prompt_tokens == len(text)


def rectangles(engine: FakeEngine) -> list[FakeRectangle]:
    """The contexts that were made, where sequences are separate."""
    return [context for context in engine.contexts if isinstance(context, FakeRectangle)]
