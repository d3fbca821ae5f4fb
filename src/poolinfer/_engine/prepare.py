"""From a job to a task that a lane can run: rendered, tokenized, and checked against the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from .._errors import CallCancelled, InvalidRequest
from .._events import Job
from .._limits import check_fit, check_tokens
from .._requests import Chat, Embed, Raw
from .base import Engine
from .embedder import EmbedTask
from .prompts import Prepared, Prompter
from .size import check_size
from .slot import Emit, Slot, Task


def prepare(
    job: Job, emit: Emit, prompter: Prompter, n_ctx: int, cancelled: Callable[[], bool] = lambda: False
) -> Task:
    """A job's task.

    Raises:
        InvalidRequest: the job does not fit this model (no chat template, embedding only, token ids, no tokens).
        ContextOverflow: its prompt and output do not fit `n_ctx` tokens.
        CallCancelled: `cancelled` said True at the beginning, or between two texts to embed.
    """
    request = job.request
    _check(cancelled)
    if isinstance(request, Embed):
        texts = _texts(request, prompter.engine, n_ctx, cancelled)
        return EmbedTask(job.id, emit, request, texts, request.pooling or prompter.engine.info.pooling)
    engine = prompter.engine
    if not engine.info.generates:
        raise InvalidRequest("prompt: this model only embeds; use embed", field="prompt")
    check_tokens(request.logit_bias, engine.info.n_vocab)
    prepared = _prompt(request, prompter)
    if not prepared.tokens:
        raise InvalidRequest(
            "prompt: it has no tokens; say something, or use another template", field="prompt"
        )
    check_fit(len(prepared.tokens), request.max_tokens, n_ctx)
    return Slot(job.id, emit, request, prepared, engine, n_ctx)


def _prompt(request: Chat | Raw, prompter: Prompter) -> Prepared:
    if isinstance(request, Raw):
        return prompter.raw(request.prompt, request.parse_special)
    tools = request.tools if request.tool_choice != "none" else ()
    return prompter.chat(cast("Sequence[Mapping[str, Any]]", request.prompt), tools)


def _texts(request: Embed, engine: Engine, n_ctx: int, cancelled: Callable[[], bool]) -> list[list[int]]:
    inputs = (request.input,) if isinstance(request.input, str) else request.input
    texts: list[list[int]] = []
    for text in inputs:
        _check(cancelled)
        check_size("input", text, engine, n_ctx)
        tokens = engine.tokenize(text, add_special=True, parse_special=False)
        if not tokens:
            raise InvalidRequest("input: a text has no tokens", field="input")
        # An embedding generates nothing, so a text may fill the context to its last token.
        check_fit(len(tokens) - 1, 1, n_ctx)
        texts.append(tokens)
    return texts


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CallCancelled("the call was cancelled")
