"""Engines over llama.cpp's C API: a fresh context per call, and a bare loop of batches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import llama_cpp.llama_cpp as native
from c_api import open_batch, open_context, open_greedy, open_model
from engine import Answer
from workloads import Prompt, Workload

N_BATCH = 512


@dataclass
class Stream:
    """One prompt, its answer so far, and its sequence in a batched loop.

    Attributes:
        prompt: the prompt's tokens.
        max_tokens: number of tokens to generate.
        heard: called after each generated token.
        done: set when the answer is whole.
        sequence: number of its KV sequence; -1 until one is free.
        fed: number of tokens that were decoded or are in the batch.
        answer: the generated tokens.
        row: the row of the batch that gives its next token; -1 if the batch gives none.
    """

    prompt: list[int]
    max_tokens: int
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
    """Continuous batching in as few lines as possible: it cannot cancel, and makes tokens but no text.

    A stream joins as soon as a sequence is free. Each batch takes the answers' tokens first; prompts fill it up.
    """

    def __init__(self, context: Any, batch: Any, sampler: Any, slots: int) -> None:
        self._context, self._batch, self._sampler = context, batch, sampler
        self._memory = native.llama_get_memory(context)
        self._free = list(range(slots))[::-1]
        self._streams: list[Stream] = []
        self.inbox: SimpleQueue[Stream | None] = SimpleQueue()

    def run(self) -> None:
        """Answer the streams of the inbox until it gives None, and finish those that were begun."""
        accepting = True
        while accepting or self._streams:
            while accepting and self._free and (not self._streams or not self.inbox.empty()):
                stream = self.inbox.get()
                accepting = stream is not None
                if stream is not None:
                    stream.sequence = self._free.pop()
                    self._streams.append(stream)
            if self._streams:
                self._step()

    def _step(self) -> None:
        """Decode one batch and sample where a token is due."""
        size = 0
        for stream in sorted(self._streams, key=lambda stream: not stream.answer):
            size = self._add(stream, size)
        self._batch.n_tokens = size
        code = native.llama_decode(self._context, self._batch)
        if code != 0:
            raise RuntimeError(f"llama_decode failed with code {code}")
        for stream in [stream for stream in self._streams if stream.row >= 0]:
            stream.answer.append(native.llama_sampler_sample(self._sampler, self._context, stream.row))
            stream.heard()
            if len(stream.answer) >= stream.max_tokens:
                self._leave(stream)

    def _add(self, stream: Stream, size: int) -> int:
        """Append a stream's next tokens to the batch of `size` tokens and return its new size."""
        batch = self._batch
        tokens = stream.next_tokens(N_BATCH - size)
        for row, token in enumerate(tokens, size):
            batch.token[row] = token
            batch.pos[row] = stream.fed
            batch.seq_id[row][0] = stream.sequence
            batch.logits[row] = 0
            stream.fed += 1
        size += len(tokens)
        stream.row = size - 1 if tokens and stream.fed >= len(stream.prompt) else -1
        if stream.row >= 0:
            batch.logits[stream.row] = 1
        return size

    def _leave(self, stream: Stream) -> None:
        native.llama_memory_seq_rm(self._memory, stream.sequence, -1, -1)
        self._streams.remove(stream)
        self._free.append(stream.sequence)
        self._free.sort(reverse=True)
        stream.done.set()


class _ModelOwner:
    """Loads a model and makes batched loops over it: the base of both engines."""

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
        """Embeddings are not measured with these engines."""
        raise NotImplementedError

    def close(self) -> None:
        """Free everything."""
        self._stack.close()


class Fresh(_ModelOwner):
    """A new context for each call, freed after it; as many calls at a time as there are cores, one thread each."""

    def __init__(self, work: Workload) -> None:
        super().__init__(work)
        self.settings |= {"at_a_time": work.threads, "n_threads": 1, "flash_attn": False}
        self._room = threading.BoundedSemaphore(work.threads)

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt when a core is free."""
        stream = Stream(prompt.tokens or [], max_tokens, heard)
        with self._room, self.loop(1, 1, self.settings["flash_attn"]) as loop:
            loop.inbox.put(stream)
            loop.inbox.put(None)
            loop.run()
        return Answer("", len(stream.answer), len(stream.prompt))


class Bare(_ModelOwner):
    """One batched loop in a thread of its own: the most that one lane could reach."""

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
        stream = Stream(prompt.tokens or [], max_tokens, heard)
        self._loop.inbox.put(stream)
        stream.done.wait()
        return Answer("", len(stream.answer), len(stream.prompt))
