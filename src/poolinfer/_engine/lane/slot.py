"""One call inside a lane: what it has computed, what comes next, and which events it emits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import urandom
from random import SystemRandom
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..._data.errors import CALL_WAS_CANCELLED, CallCancelled, EngineError, PoolinferError
from ..._data.events import Done, Emit, Event, Failed, Started
from ..._data.logprobs import TokenLogprob
from ..._data.requests import Chat, Generation, Raw
from ..._data.results import Chunk, FinishReason, Response, Timings, Usage
from ..engine_protocol import Context, Engine, EngineFault
from ..guide.guide import Guide
from ..prompt.prompter import PreparedPrompt
from ..text.answer_splitter import AnswerSplitter
from ..text.call_ids import CallIds
from ..text.parameter_types import ParameterTypes
from ..text.text_stream import TextStream
from .prefix_cache import AwaitedPrefix, KVSequence, pack
from .prompt_scorer import prompt_scorer
from .reasoning_budget import ReasoningBudget
from .token_logprobs import token_logprob

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Row: TypeAlias = numpy.typing.NDArray[numpy.float32]

_new_seed = SystemRandom().getrandbits


class Task:
    """A job that a lane works on; ends exactly once.

    Attributes:
        job_id: the job's id.
        cancelled: set by any thread; the lane ends the task at its next step.
    """

    def __init__(self, job_id: int, emit: Emit) -> None:
        self.job_id = job_id
        self.cancelled = False
        self.ended = False
        self._emit = emit

    def emit(self, event: Event) -> None:
        """Pass an event of the job on, unless the job has ended."""
        if self.ended:
            return
        self.ended = isinstance(event, Done | Failed)
        self._emit(event)

    def fail(self, error: PoolinferError) -> None:
        """End the job badly."""
        self.close()
        self.emit(Failed.of(error))

    def fail_cancelled(self, why: str = CALL_WAS_CANCELLED) -> None:
        """End the job because its owner or its pool gave it up."""
        self.fail(CallCancelled(why))

    def close(self) -> None:
        """Free what the task holds; idempotent."""


class Slot(Task):
    """A call that generates text: rows of its prompt first, then one row in each step.

    Attributes:
        ids: the slot's tokens, packed, as they were when it last began to wait for a sequence, as far as other
            sequences may have computed them for it.
        key: the call's `cache_key`.
        sequence: the slot's KV sequence in the lane's context; None while the slot waits for one.
        wait: the prefix that the slot waits for before it gets a sequence, or None.
        scorer: finds the log probabilities of the prompt's tokens, where they are asked for.
    """

    def __init__(
        self,
        job_id: int,
        emit: Emit,
        request: Generation,
        prepared: PreparedPrompt,
        engine: Engine,
        n_ctx: int,
        guide: Guide | None = None,
    ) -> None:
        super().__init__(job_id, emit)
        self.key = request.cache_key
        self.sequence: KVSequence | None = None
        self.wait: AwaitedPrefix | None = None
        self._engine = engine
        self._guide = guide
        self._tokens = list(prepared.tokens)
        self.scorer = prompt_scorer(request, prepared.tokens, engine)
        self._n_prompt = len(self._tokens)
        self._n_cached: int | None = None
        self._n_most = n_ctx if request.max_tokens is None else self._n_prompt + request.max_tokens
        self._n_top = request.top_logprobs if request.logprobs or request.top_logprobs else -1
        # The same seed makes the same response, ids of tool calls included.
        nonce = urandom(16) if request.seed is None else b"%d:%b" % (request.seed, pack(self._tokens))
        self._stream = TextStream(tuple(request.stop), _splitter(request, prepared, nonce))
        self._marks = prepared.learned.marked.characters
        budget = request.reasoning_budget if isinstance(request, Chat) else None
        self._reasoning = ReasoningBudget(self._stream, budget, prepared.learned.closing)
        self._returns_scores = isinstance(request, Raw) and request.prompt_logprobs
        self._echo = request.prompt if isinstance(request, Raw) and request.echo else ""
        self._echoed = ""
        self._logprobs: list[TokenLogprob] = []
        self._n_emitted = 0
        self._began = self._first = self._last = 0.0
        self._sampler = engine.sampler(request, _new_seed(32) if request.seed is None else request.seed)
        self._tokens += self._forced(tuple(request.stop))
        self._n_prefill = len(self._tokens)
        self.ids = self._reusable()

    @property
    def computed(self) -> int:
        """Tokens whose KV is in the context."""
        return self.sequence.computed if self.sequence is not None else 0

    @property
    def n_tokens(self) -> int:
        """Tokens of its prompt and answer so far."""
        return len(self._tokens)

    @property
    def n_entering(self) -> int:
        """Tokens that are still to be computed like a prompt."""
        return self._n_prefill - self.computed

    @property
    def decoding(self) -> bool:
        """Whether the prompt is computed."""
        return self.computed >= self._n_prefill

    @property
    def generates(self) -> bool:
        """Whether an answer is wanted, or only its prompt is read (``max_tokens=0``)."""
        return self._n_most > self._n_prompt

    def begin(self, now: float) -> None:
        """Note when the call got its slot, and emit that."""
        self._began = now
        self.emit(Started(self._n_prompt))
        for token in self._tokens[self._n_prompt :]:
            self._said(token)

    def start(self, sequence: KVSequence) -> None:
        """Take a sequence of the context, and what it holds already."""
        self.sequence, self.wait = sequence, None
        if self._n_cached is None:
            self._n_cached = min(sequence.computed, self._n_prompt)

    def advance(self, context: Context, row: int, now: float) -> None:
        """Choose the next token from a row's logits, emit its text, and end if it is the last."""
        self._first = self._first or now
        self._last = now
        if not self.generates:
            self._finish("length")
            return
        try:
            token, logits = self._choose(context.logits(row))
        except EngineError as error:
            self.fail(error)
            return
        if token is None:
            self._finish("stop")
            return
        self._tokens.append(token)
        if self._n_top >= 0:
            self._logprobs.append(token_logprob(self._engine, logits, token, self._n_top))
        if self._said(token) or self._complete:
            self._finish("stop")
        elif len(self._tokens) >= self._n_most:
            self._finish("length")

    def _said(self, token: int) -> bool:
        """Emit a token's text; whether the token ends the answer. One that closes reasoning does not."""
        ends = self._engine.is_end(token)
        inside, mark = self._stream.in_reasoning, self._marks.get(token)
        if mark is not None:
            chunk = self._stream.mark(mark)
        else:
            chunk = None if ends else self._stream.feed(self._engine.piece(token))
        if chunk is not None:
            self._emit_chunk(chunk)
        self._reasoning.note()
        return ends and not (inside and not self._stream.in_reasoning)

    def take(self, n: int) -> tuple[int, list[int]]:
        """Position of the next `n` tokens to compute, and the tokens; they count as computed before the step runs.

        Raises:
            RuntimeError: the slot has no sequence.
        """
        if self.sequence is None:
            raise RuntimeError("a slot without a sequence computes nothing")
        start = self.sequence.computed
        end = self.sequence.computed = start + n
        return start, self._tokens[start:end]

    def leave(self) -> bytes:
        """Give the sequence up; returns the tokens that it holds, packed."""
        ids = pack(self._tokens[: self.computed])
        self.sequence = None
        return ids

    def pause(self, *, exact: bool = False) -> None:
        """Wait for another sequence, in which all tokens so far are computed like a prompt.

        If `exact`, only the prompt is, and the answer is computed row by row. So it has the same bits as before.
        """
        self.sequence = self.wait = None
        if not exact:
            self._n_prefill = len(self._tokens)
        self.ids = self._reusable()

    def _reusable(self) -> bytes:
        n = self._n_prefill
        return pack(self._tokens[: n if self.scorer is None else self.scorer.reusable(n)])

    def rewind(self, *, exact: bool) -> None:
        """Forget what the context held; all tokens so far are computed again, as `pause` says."""
        self.pause(exact=exact)
        self._n_cached = None

    def close(self) -> None:
        self._sampler.close()

    def _forced(self, stops: tuple[str, ...]) -> list[int]:
        """Tokens with which the guide lets every answer begin; they are computed with the prompt."""
        # Log probabilities are known of tokens that were chosen.
        if self._guide is None or self._n_top >= 0 or not self.generates:
            return []
        tokens = self._guide.forced(self._n_most - self._n_prompt - 1, stops)
        for token in tokens:
            self._sampler.accept(token)
        return tokens

    @property
    def _complete(self) -> bool:
        """Whether nothing may follow what was said."""
        return (
            self._stream.stopped or self._stream.ended or (self._guide is not None and self._guide.complete)
        )

    def _choose(self, logits: Row) -> tuple[int | None, Row]:
        """Choose and note the next token; None where only the end may follow. And the logits without a mask.

        Raises:
            EngineError: the guide cannot be followed.
        """
        whole, guide = logits, self._guide
        token = self._reasoning.next()
        if token is None:
            token = self._sampler.sample(logits)
            # A mask takes a hundred times as long as asking for one token, and most that a model wants are allowed.
            if guide is not None and not guide.allows(token):
                whole = logits.copy() if self._n_top >= 0 else logits
                guide.mask(logits)
                if guide.complete:
                    return None, whole
                token = self._sampled(logits)
        self._sampler.accept(token)
        if guide is not None and not self._engine.is_end(token):
            guide.accept(token)
        return token, whole

    def _sampled(self, masked: Row) -> int:
        try:
            return self._sampler.sample(masked)
        except EngineFault as fault:
            # The engine is well: other options of the call rule out all that the guide allows.
            raise EngineError(f"no token is left that the call's options allow: {fault}") from fault

    def _emit_chunk(self, chunk: Chunk) -> None:
        if self._echo:
            chunk = replace(chunk, text=self._echo + chunk.text, answer=self._echo + chunk.answer)
            self._echo, self._echoed = "", self._echo
            if self._n_top >= 0 and self.scorer is not None:
                self._logprobs[:0] = self.scorer.found
        if self._n_top >= 0:
            fresh, self._n_emitted = tuple(self._logprobs[self._n_emitted :]), len(self._logprobs)
            chunk = replace(chunk, logprobs=fresh)
        self.emit(chunk)

    def _finish(self, reason: FinishReason) -> None:
        last = self._stream.finish()
        if self._stream.stopped:
            # Text was held back, since a longer stop string could follow; it holds a shorter one.
            reason = "stop"
        if last is None and (self._echo or self._n_emitted < len(self._logprobs)):
            last = Chunk()
        if last is not None:
            self._emit_chunk(last)
        self.close()
        stream, calls = self._stream, self._stream.tool_calls
        n_generated = len(self._tokens) - self._n_prompt
        usage = Usage(self._n_prompt, self._n_cached or 0, n_generated, self._reasoning.n_tokens)
        timings = Timings(prefill=self._first - self._began, decode=self._last - self._first)
        self.emit(
            Done(
                Response(
                    text=self._echoed + stream.text,
                    answer=self._echoed + stream.answer,
                    reasoning=stream.reasoning,
                    tool_calls=calls,
                    finish_reason="tool_calls" if calls and reason == "stop" else reason,
                    usage=usage,
                    timings=timings,
                    logprobs=tuple(self._logprobs),
                    prompt_logprobs=tuple(self.scorer.found) if self.scorer and self._returns_scores else (),
                )
            )
        )


def _splitter(request: Generation, prepared: PreparedPrompt, nonce: bytes) -> AnswerSplitter | None:
    """What splits the answer to a request; a `Raw` is not split."""
    if not isinstance(request, Chat):
        return None
    formats, tools = prepared.learned.marked.formats, () if request.tool_choice == "none" else request.tools
    spelled = formats.tools
    turns = cast("Sequence[Mapping[str, Any]]", request.prompt) if tools else ()
    return AnswerSplitter(
        formats if tools else replace(formats, tools=None),
        CallIds(
            nonce,
            (call.get("id", "") for turn in turns for call in turn.get("tool_calls") or ()),
            short=spelled is not None and spelled.short_ids,
        ),
        ParameterTypes(tools),
        reasoning_open=prepared.reasoning_open,
        single=not request.parallel_tool_calls,
    )
