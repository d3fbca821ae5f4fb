"""Engines over llama-cpp-python: one locked ``Llama``, a fresh context per call, a bare batched loop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as native
from c_api import open_batch, open_context, open_greedy, open_model
from engine_registry import Answer
from workloads import Prompt, Workload

N_BATCH = 512


class Locked:
    """One ``Llama`` behind a lock, as applications do without a pool."""

    def __init__(self, work: Workload) -> None:
        self.settings: dict[str, Any] = {
            "n_ctx": work.n_ctx,
            "n_batch": N_BATCH,
            "n_threads": work.threads,
            "n_threads_batch": work.threads,
        }
        # Its own default is off, which is better only where most of the work is decoding.
        self.settings["flash_attn"] = any(
            len(prompt.tokens or ()) > 2 * work.max_tokens for prompt in work.prompts
        )
        if work.kind == "embed":
            self.settings |= {"embedding": True, "pooling_type": native.LLAMA_POOLING_TYPE_MEAN}
        self._model = work.model
        self._bias = dict.fromkeys(work.banned, -100.0) or None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Load the model."""
        self._llama = llama_cpp.Llama(self._model, verbose=False, **self.settings)

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt when it is its turn."""
        texts, reason = [], None
        with self._lock:
            pieces: Any = self._llama.create_completion(
                prompt.tokens or prompt.text,
                max_tokens=max_tokens,
                temperature=0.0,
                logit_bias=self._bias,
                stream=True,
            )
            for piece in pieces:
                choice = piece["choices"][0]
                if choice["text"]:
                    heard()
                    texts.append(choice["text"])
                reason = choice["finish_reason"] or reason
        # It streams no counts; an answer that ended for its length has exactly what was asked for.
        return Answer("".join(texts), max_tokens if reason == "length" else -1)

    def embed(self, texts: list[str]) -> list[int]:
        """Turn texts into vectors."""
        with self._lock:
            found: Any = self._llama.embed(texts)
        return [len(vector) for vector in found]

    def close(self) -> None:
        """Free the model."""
        self._llama.close()


@dataclass
class Seat:
    """One sequence of a batched loop and the prompt that it is answering."""

    prompt: list[int]
    most: int
    heard: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)
    sequence: int = -1
    fed: int = 0
    answer: list[int] = field(default_factory=list)
    row: int = -1

    def next_tokens(self, room: int) -> list[int]:
        """Return what to feed next: the last token of the answer, or as much prompt as there is room for."""
        return self.answer[-1:] if self.answer else self.prompt[self.fed : self.fed + room]


class BatchedLoop:
    """Continuous batching in the fewest lines: no cancelling, no text, no second thought.

    A seat joins as soon as a sequence is free. Answers go first into a batch, prompts fill it up.
    """

    def __init__(self, context: Any, batch: Any, sampler: Any, slots: int) -> None:
        self._context, self._batch, self._sampler = context, batch, sampler
        self._memory = native.llama_get_memory(context)
        self._free = list(range(slots))[::-1]
        self._seats: list[Seat] = []
        self.inbox: SimpleQueue[Seat | None] = SimpleQueue()

    def run(self) -> None:
        """Answer seats until None comes in and all are done."""
        going = True
        while going or self._seats:
            while going and self._free and (not self._seats or not self.inbox.empty()):
                seat = self.inbox.get()
                going = seat is not None
                if seat is not None:
                    seat.sequence = self._free.pop()
                    self._seats.append(seat)
            if self._seats:
                self._step()

    def _step(self) -> None:
        """Decode one batch and sample where a token is due."""
        size = 0
        for seat in sorted(self._seats, key=lambda seat: not seat.answer):
            size = self._add(seat, size)
        self._batch.n_tokens = size
        code = native.llama_decode(self._context, self._batch)
        if code != 0:
            raise RuntimeError(f"llama_decode failed with code {code}")
        for seat in [seat for seat in self._seats if seat.row >= 0]:
            seat.answer.append(native.llama_sampler_sample(self._sampler, self._context, seat.row))
            seat.heard()
            if len(seat.answer) >= seat.most:
                self._leave(seat)

    def _add(self, seat: Seat, size: int) -> int:
        """Append a seat's next tokens to the batch of `size` tokens and return its new size."""
        batch = self._batch
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

    def _leave(self, seat: Seat) -> None:
        native.llama_memory_seq_rm(self._memory, seat.sequence, -1, -1)
        self._seats.remove(seat)
        self._free.append(seat.sequence)
        self._free.sort(reverse=True)
        seat.done.set()


class _Native:
    """What the two engines over the C API share: one loaded model, and no embeddings."""

    def __init__(self, work: Workload) -> None:
        self._work = work
        self._stack = contextlib.ExitStack()
        self.settings: dict[str, Any] = {"n_ctx": work.n_ctx, "n_batch": N_BATCH}

    def start(self) -> None:
        """Load the model."""
        self._model = self._stack.enter_context(open_model(Path(self._work.model)))

    @contextlib.contextmanager
    def loop(self, slots: int, threads: int, flash_attn: bool) -> Any:
        """Return a batched loop over a context of its own."""
        vocab, work = native.llama_model_get_vocab(self._model), self._work
        with (
            open_context(
                self._model,
                slots=slots,
                n_ctx=work.n_ctx,
                n_batch=N_BATCH,
                n_threads=threads,
                flash_attn=flash_attn,
            ) as context,
            open_batch(N_BATCH) as batch,
            open_greedy(vocab, work.banned) as sampler,
        ):
            yield BatchedLoop(context, batch, sampler, slots)

    def embed(self, texts: Sequence[str]) -> list[int]:
        """Not measured."""
        raise NotImplementedError

    def close(self) -> None:
        """Free everything."""
        self._stack.close()


class Fresh(_Native):
    """A context made for each call and thrown away after it, in one thread per core."""

    def __init__(self, work: Workload) -> None:
        super().__init__(work)
        self.settings |= {"at_a_time": work.threads, "n_threads": 1, "flash_attn": False}
        self._room = threading.BoundedSemaphore(work.threads)

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt when a core is free."""
        seat = Seat(prompt.tokens or [], max_tokens, heard)
        with self._room, self.loop(1, 1, self.settings["flash_attn"]) as loop:
            loop.inbox.put(seat)
            loop.inbox.put(None)
            loop.run()
        return Answer("", len(seat.answer), len(seat.prompt))


class Bare(_Native):
    """One batched loop in a thread of its own: the limit for one lane."""

    def __init__(self, work: Workload) -> None:
        super().__init__(work)
        self.settings |= {"slots": work.slots, "n_threads": work.threads, "flash_attn": True}

    def start(self) -> None:
        """Load the model and start the loop."""
        super().start()
        settings = self.settings
        self._loop = self._stack.enter_context(
            self.loop(settings["slots"], settings["n_threads"], settings["flash_attn"])
        )
        thread = threading.Thread(target=self._loop.run)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(self._loop.inbox.put, None)

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt."""
        seat = Seat(prompt.tokens or [], max_tokens, heard)
        self._loop.inbox.put(seat)
        seat.done.wait()
        return Answer("", len(seat.answer), len(seat.prompt))
