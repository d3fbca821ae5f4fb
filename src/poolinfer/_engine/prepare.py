"""From a job to a task that a lane can run: rendered, tokenized, and checked against the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from .._errors import InvalidRequest
from .._events import Job
from .._limits import check_fit, check_text_fit, check_tokens
from .._requests import Chat, Embed, Raw
from .base import Engine
from .embedder import EmbedTask
from .prompts import Prepared, Prompter
from .slot import Emit, Slot, Task


def prepare(job: Job, emit: Emit, prompter: Prompter, n_ctx: int) -> Task:
    """A job's task.

    Raises:
        InvalidRequest: the job does not fit this model (no chat template, embedding only, token ids, no tokens).
        ContextOverflow: its prompt and output do not fit `n_ctx` tokens.
    """
    request = job.request
    if isinstance(request, Embed):
        return _prepare_embed(job.id, emit, request, prompter.engine, n_ctx)
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


def _prepare_embed(job_id: int, emit: Emit, request: Embed, engine: Engine, n_ctx: int) -> EmbedTask:
    one = isinstance(request.input, str)
    texts: list[list[int]] = []
    for i, text in enumerate((request.input,) if one else request.input):
        field = "input" if one else f"input[{i}]"
        tokens = engine.tokenize(text, add_special=True, parse_special=False)
        if not tokens:
            raise InvalidRequest(f"{field} has no tokens: give some text", field=field)
        if request.truncate and len(tokens) > n_ctx:
            tokens = _cut(tokens, n_ctx, engine)
        check_text_fit(field, len(tokens), n_ctx)
        texts.append(tokens)
    pooling = request.pooling or engine.info.pooling
    return EmbedTask(job_id, emit, request, texts, pooling)


def _cut(tokens: list[int], n_ctx: int, engine: Engine) -> list[int]:
    """The first tokens of a text, and what the tokenizer puts after every text (a ``[SEP]``)."""
    around = engine.tokenize("", add_special=True, parse_special=False)
    before = next((i for i, token in enumerate(around) if token != tokens[i]), len(around))
    after = around[before:]
    return tokens[: n_ctx - len(after)] + after
