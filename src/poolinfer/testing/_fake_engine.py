"""`FakeEngine`: a scripted engine for real lanes, real threads and real chat templates.

Tokens are bytes; control tokens and markers come after them. What a sequence answers is computed from the tokens
that its context really holds, so calls that cross, or contexts that are not cleared, show in the text.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from .._data.requests import Generation
from .._data.specs import LaneSpec, Ranking
from .._engine.engine_protocol import Context, EngineInfo
from .._engine.llama.growing_context import GrowingContext
from .._executors.thread import ThreadExecutor
from .._pool.pool import Pool
from ._fake_blocks import FakeBlocks
from ._fake_context import FAKE_WIDTH, SCORE_ROWS, FakeContext, FakeRankContext, FakeRectangle

_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_FIRST = 256
# Dimensions of a model of middling size.
_WIDTH = 1024
_C = TypeVar("_C", bound=FakeContext)


if TYPE_CHECKING:
    from ._fake_sampler import FakeSampler


class FakeEngine:
    """An engine without a model: greedy, it echoes the last user turn.

    Args:
        tokens: length of every answer (the echo is repeated); None for the echo once.
        step_delay: seconds that a step takes, unless it is aborted.
        raise_after: number of the step that fails (once).
        hang: steps wait until it is set, unless they are aborted.
        honours_abort: whether `abort` ends a step that waits.
        nan_embeddings: whether vectors are NaN.
        n_vocab: tokens in the vocabulary.
        n_ctx_train: context length that it says it was trained for.
        generates: whether it generates text.
        causal: whether tokens attend only to earlier ones.
        kv_reuse: whether a sequence's tokens can be copied and cut; if not, trying to is a fault.
        chat_template: Jinja source, ChatML if not given; None for a model without one.
        control: spellings of control tokens; the last one ends an answer.
        markers: spellings of user-defined tokens.
        block_size: tokens of a block of paged KV. None for sequences that each have memory of their own, all of the
            same length, as with llama.cpp.
        ranking: how it ranks documents, by scores that follow from the tokens; None if it does not.
        rerank_template: the prompt of a query and a document; None for control tokens around and between both.
        query_prefix: what is put before a text to embed that is a query.
        document_prefix: what is put before a text to embed that is a document.

    Attributes:
        contexts: every context ever made.
        samplers: how many samplers were ever made.
        steps: decodes so far.
        max_rows: most rows of one decode so far.
    """

    def __init__(
        self,
        *,
        tokens: int | None = None,
        step_delay: float = 0.0,
        raise_after: int | None = None,
        hang: threading.Event | None = None,
        honours_abort: bool = True,
        nan_embeddings: bool = False,
        n_vocab: int = 320,
        n_ctx_train: int = 4096,
        generates: bool = True,
        causal: bool = True,
        kv_reuse: bool = True,
        chat_template: str | None = _CHATML,
        control: Sequence[str] = ("<|im_start|>", "<|im_end|>"),
        markers: Sequence[str] = ("<think>", "</think>"),
        block_size: int | None = None,
        ranking: Ranking | None = None,
        rerank_template: str | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
    ) -> None:
        self.tokens = tokens
        self.step_delay = step_delay
        self.raise_after = raise_after
        self.hang = hang
        self.honours_abort = honours_abort
        self.nan_embeddings = nan_embeddings
        self.block_size = block_size
        self.contexts: list[FakeContext] = []
        self.samplers: int = 0
        self.steps: int = 0
        self.max_rows: int = 0
        self._alive = 0
        self._closed = False
        self._lock = threading.Lock()
        self._special = (*control, *markers)
        self._control = tuple(control)
        self._end = _FIRST + len(control) - 1
        self._info = EngineInfo(
            n_vocab=n_vocab,
            n_ctx_train=n_ctx_train,
            generates=generates,
            causal=causal,
            kv_reuse=kv_reuse,
            chat_template=chat_template,
            control=self._control,
            control_ids=frozenset(range(_FIRST, _FIRST + len(control))),
            markers=tuple(markers),
            eos=control[-1] if control else "",
            width=FAKE_WIDTH,
            ranking=ranking,
            named_templates={} if rerank_template is None else {"rerank": rerank_template},
            pair=((), (_FIRST,), (self._end,)) if control else ((), (), ()),
            query_prefix=query_prefix,
            document_prefix=document_prefix,
        )

    @property
    def info(self) -> EngineInfo:
        """See `poolinfer._engine.engine_protocol.Engine.info`."""
        return self._info

    @property
    def token_bytes(self) -> int:
        """Those of its longest control token or marker."""
        return max(map(len, self._special), default=1)

    @property
    def pre_tokenizer(self) -> str:
        """None."""
        return ""

    def executor(
        self,
        *,
        workers: int = 1,
        slots: int = 4,
        n_ctx: int = 2048,
        n_batch: int = 512,
        latency_target: float = 0.25,
        prefix_cache: bool = True,
    ) -> ThreadExecutor:
        """The real thread executor over this engine."""
        lane = LaneSpec(
            slots=slots,
            n_ctx=n_ctx,
            n_batch=n_batch,
            latency_target=latency_target,
            prefix_cache=prefix_cache,
        )
        return ThreadExecutor(lambda _: self, workers=workers, lane=lane)

    def leaks(self) -> list[str]:
        """What was not given back, in words; empty after a pool was closed."""
        found = [f"context {n} is open" for n, context in enumerate(self.contexts) if not context.closed]
        if self._alive:
            found.append(f"{self._alive} samplers are alive")
        return found if self._closed else [*found, "the engine is open"]

    def tokenize(
        self,
        text: str,
        *,
        add_special: bool,  # noqa: ARG002  (nothing goes around a text here)
        parse_special: bool,
    ) -> list[int]:
        """Bytes, control tokens (if `parse_special`) and markers (always, as llama.cpp does)."""
        known = self._special if parse_special else self._info.markers
        parts = re.split(f"({'|'.join(map(re.escape, known))})", text) if known else [text]
        tokens: list[int] = []
        for n, part in enumerate(parts):
            tokens.extend([_FIRST + self._special.index(part)] if n % 2 else part.encode())
        return tokens

    def piece(self, token: int) -> bytes:
        """See `poolinfer._engine.engine_protocol.Engine.piece`."""
        if token < _FIRST:
            return bytes([token])
        shown = _FIRST + len(self._control) <= token < _FIRST + len(self._special)
        return self._special[token - _FIRST].encode() if shown else b""

    def spelling(self, token: int) -> str:
        """See `poolinfer._engine.engine_protocol.Engine.spelling`."""
        return self._special[token - _FIRST] if token in self._info.control_ids else ""

    def is_end(self, token: int) -> bool:
        """Whether a token is the last control token."""
        return token == self._end

    @property
    def end_ids(self) -> frozenset[int]:
        """The last control token."""
        return frozenset([self._end])

    def sampler(self, request: Generation, seed: int) -> FakeSampler:
        """See `poolinfer._engine.engine_protocol.Engine.sampler`."""
        self.count(samplers=1, _alive=1)
        # Imported when the first one is made: numpy starts threads, and not every host of a fake engine has room.
        from ._fake_sampler import FakeSampler

        return FakeSampler(request, seed, self.answer, lambda: self.count(_alive=-1))

    def context(self, lane: LaneSpec) -> Context:
        """See `poolinfer._engine.engine_protocol.Engine.context`."""
        if self.block_size is None:
            return GrowingContext(self.rectangle, lane, _WIDTH, SCORE_ROWS)
        return self.kept(FakeBlocks(self, lane, self.block_size))

    def embedding_context(self, *, n_seq: int, n_ctx: int) -> FakeRectangle:
        """See `poolinfer._engine.engine_protocol.Engine.embedding_context`."""
        return self.kept(FakeRectangle(self, n_seq, n_ctx, embeds=True))

    def rank_context(self, *, n_seq: int, n_ctx: int) -> FakeRankContext:
        """See `poolinfer._engine.engine_protocol.Engine.rank_context`."""
        return self.kept(FakeRankContext(self, n_seq, n_ctx))

    def detokenize(self, tokens: Sequence[int], *, special: bool) -> bytes:
        """See `poolinfer._engine.engine_protocol.Engine.detokenize`."""
        first = _FIRST if special else self.info.n_vocab
        return b"".join(self._special[t - _FIRST].encode() if t >= first else self.piece(t) for t in tokens)

    def rectangle(self, n_seq: int, n_ctx: int) -> FakeRectangle:
        """What a llama.cpp context of so many sequences of so many tokens would be."""
        return self.kept(FakeRectangle(self, n_seq, n_ctx))

    def kept(self, context: _C) -> _C:
        """Remember a context that was made."""
        with self._lock:
            self.contexts.append(context)
        return context

    def close(self) -> None:
        """See `poolinfer._engine.engine_protocol.Engine.close`."""
        self._closed = True

    def count(self, **more: int) -> None:
        """Add to counters."""
        with self._lock:
            for name, n in more.items():
                setattr(self, name, getattr(self, name) + n)

    def note_step(self, rows: int) -> int:
        """Count a step of so many rows; its number, from 1."""
        with self._lock:
            self.steps += 1
            self.max_rows = max(self.max_rows, rows)
            return self.steps

    def answer(self, prompt: list[int], index: int) -> int:
        """The token at an index of the answer to a prompt."""
        said = self._last_turn(prompt)
        most = len(said) if self.tokens is None else self.tokens
        return said[index % len(said)] if said and index < most else self._end

    def _last_turn(self, prompt: list[int]) -> list[int]:
        """The tokens of the last user turn; all of them when there are no turns."""
        head = self.tokenize("<|im_start|>user\n", add_special=False, parse_special=True)
        tail = self.tokenize("<|im_end|>", add_special=False, parse_special=True)
        for start in range(len(prompt) - len(head), -1, -1):
            if prompt[start : start + len(head)] == head:
                turn = prompt[start + len(head) :]
                with suppress(ValueError):
                    return turn[: turn.index(tail[0])]
        return prompt


def fake_pool(engine: FakeEngine | None = None, *, workers: int = 1, slots: int = 4, **options: Any) -> Pool:
    """A pool on the real thread executor over a fake engine; `options` are the pool's own."""
    return Pool(executor=(engine or FakeEngine()).executor(workers=workers, slots=slots), **options)
