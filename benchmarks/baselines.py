"""What poolinfer is measured against: one locked ``Llama``, and a bare batched loop over the C API.

Both answer tokenised prompts greedily and return the seconds taken (loading and warming up left out), the
tokens generated in all, and the tokens generated for each prompt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as native
from lowlevel import end_tokens, open_batch, open_context, open_greedy, open_model

N_BATCH = 512
WARM_UP_TOKENS = 2


def locked_llama(
    model_path: Path,
    prompts: Sequence[list[int]],
    *,
    max_tokens: int = 48,
    callers: int = 16,
    n_threads: int = 2,
    n_ctx: int = 512,
    banned: Sequence[int] = (),
) -> tuple[float, int, list[int]]:
    """Answer from many threads with one ``Llama`` behind a lock, as applications do without a pool.

    Args:
        callers: threads that wait for the lock.
        n_threads: threads that compute.
        banned: tokens that must not be generated.
    """
    llama = llama_cpp.Llama(
        str(model_path),
        n_ctx=n_ctx,
        n_batch=N_BATCH,
        n_threads=n_threads,
        n_threads_batch=n_threads,
        verbose=False,
    )
    lock = threading.Lock()
    bias = dict.fromkeys(banned, -100.0) or None

    def answer(prompt: list[int], limit: int = max_tokens) -> int:
        with lock:
            reply: Any = llama.create_completion(prompt, max_tokens=limit, temperature=0.0, logit_bias=bias)
        return int(reply["usage"]["completion_tokens"])

    try:
        answer(prompts[0][:8], WARM_UP_TOKENS)
        started = time.perf_counter()
        with ThreadPoolExecutor(callers) as threads:
            counts = list(threads.map(answer, prompts))
        return time.perf_counter() - started, sum(counts), counts
    finally:
        llama.close()


@dataclass
class Seat:
    """One sequence of the batched loop and the prompt that it is answering."""

    sequence: int
    index: int
    prompt: list[int]
    fed: int = 0
    answer: list[int] = field(default_factory=list)
    row: int = -1

    def next_tokens(self, room: int) -> list[int]:
        """Return what to feed next: the last token of the answer, or as much prompt as there is room for."""
        return self.answer[-1:] if self.answer else self.prompt[self.fed : self.fed + room]


@dataclass(frozen=True)
class BatchedLoop:
    """Continuous batching in the fewest lines: no cancelling, no streaming, no text."""

    context: native.llama_context_p
    batch: native.llama_batch
    sampler: native.llama_sampler_p
    slots: int

    def run(self, prompts: Sequence[list[int]], max_tokens: int, ends: frozenset[int]) -> list[int]:
        """Answer every prompt, ``slots`` at a time, and return the tokens generated for each."""
        memory = native.llama_get_memory(self.context)
        counts = [0] * len(prompts)
        waiting = iter(enumerate(prompts))
        seats = self._fill(range(self.slots), waiting)
        while seats:
            self._step(seats)
            ended = [seat for seat in seats if self._is_over(seat, max_tokens, ends)]
            for seat in ended:
                seats.remove(seat)
                counts[seat.index] = len(seat.answer)
                native.llama_memory_seq_rm(memory, seat.sequence, -1, -1)
            seats += self._fill([seat.sequence for seat in ended], waiting)
        return counts

    def _fill(self, sequences: Sequence[int], waiting: Iterator[tuple[int, list[int]]]) -> list[Seat]:
        """Seat the next waiting prompts on free sequences."""
        return [Seat(sequence, *entry) for sequence, entry in zip(sequences, waiting, strict=False)]

    def _step(self, seats: list[Seat]) -> None:
        """Decode one batch, answers first and prompts in the room left, and sample where a token is due."""
        size = 0
        for seat in sorted(seats, key=lambda seat: not seat.answer):
            size = self._add(seat, size)
        self.batch.n_tokens = size
        code = native.llama_decode(self.context, self.batch)
        if code != 0:
            raise RuntimeError(f"llama_decode failed with code {code}")
        for seat in sorted(seats, key=lambda seat: seat.row):
            if seat.row >= 0:
                seat.answer.append(native.llama_sampler_sample(self.sampler, self.context, seat.row))

    def _add(self, seat: Seat, size: int) -> int:
        """Append a seat's next tokens to the batch of ``size`` tokens and return its new size."""
        batch = self.batch
        tokens = seat.next_tokens(N_BATCH - size)
        for place, token in enumerate(tokens, size):
            batch.token[place] = token
            batch.pos[place] = seat.fed
            batch.seq_id[place][0] = seat.sequence
            batch.logits[place] = 0
            seat.fed += 1
        size += len(tokens)
        seat.row = size - 1 if tokens and seat.fed >= len(seat.prompt) else -1
        if seat.row >= 0:
            batch.logits[seat.row] = 1
        return size

    def _is_over(self, seat: Seat, max_tokens: int, ends: frozenset[int]) -> bool:
        """Tell whether a seat's answer is complete."""
        return len(seat.answer) >= max_tokens or (bool(seat.answer) and seat.answer[-1] in ends)


def bare_loop(
    model_path: Path,
    prompts: Sequence[list[int]],
    *,
    max_tokens: int = 48,
    slots: int = 16,
    n_threads: int = 2,
    n_ctx: int = 512,
    banned: Sequence[int] = (),
    flash_attn: bool = True,
) -> tuple[float, int, list[int]]:
    """Answer with one context and continuous batching, straight over the C API: the ceiling for one lane.

    Args:
        slots: sequences decoded together.
        n_threads: threads that compute.
        n_ctx: context of one sequence.
        banned: tokens that must not be generated.
        flash_attn: whether attention is fused.
    """
    with open_model(model_path) as model:
        vocab = native.llama_model_get_vocab(model)
        ends = frozenset(end_tokens(vocab))
        with (
            open_context(
                model, slots=slots, n_ctx=n_ctx, n_batch=N_BATCH, n_threads=n_threads, flash_attn=flash_attn
            ) as context,
            open_batch(N_BATCH) as batch,
            open_greedy(vocab, list(banned)) as sampler,
        ):
            loop = BatchedLoop(context, batch, sampler, slots)
            loop.run([prompts[0][:8]], WARM_UP_TOKENS, ends)
            started = time.perf_counter()
            counts = loop.run(prompts, max_tokens, ends)
            return time.perf_counter() - started, sum(counts), counts
