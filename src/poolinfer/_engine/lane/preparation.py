"""From a job to a task that a lane can run: rendered, tokenized, and checked against the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ..._checks.limits import count
from ..._checks.model_fit import check_fit, check_tokens
from ..._checks.refusals import refuse
from ..._data.errors import InvalidRequest
from ..._data.events import Emit, Job, Result
from ..._data.requests import Chat, LogitBias, Raw
from ..._data.text_requests import Embed, Rerank
from ..engine_protocol import Engine
from ..guide.guides import Guides
from ..prompt.prompter import PreparedPrompt, Prompter
from .embedder import EmbedTask
from .guidance import guide_of, offered
from .ranker import RankTask
from .slot import Slot, Task
from .text_preparation import check_going, prompts_to_rank, tokens_to_embed
from .token_answers import answer_at_once


def prepare(
    job: Job,
    emit: Emit,
    engine: Engine,
    prompter: Prompter,
    guides: Guides,
    n_ctx: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> Task | Result:
    """A job's task, or its result where nothing has to be computed.

    Args:
        job: what to prepare.
        emit: takes the job's events.
        engine: what will compute the task.
        prompter: turns the job's prompt into the engine's tokens.
        guides: makes what holds an answer to a schema or grammar.
        n_ctx: tokens that one call may use, prompt and output together.
        cancelled: whether the job was given up.

    Raises:
        InvalidRequest: the job does not fit this model (no chat template, embedding only, token ids, no tokens, no
            reranker).
        InvalidGrammar: no answer can be held to what the job asks for.
        ContextOverflow: the job's prompt and output do not fit `n_ctx` tokens.
        CallCancelled: `cancelled` said True at the beginning, while a chat template was rendered, or between two
            texts to embed.
    """
    request = job.request
    check_going(cancelled)
    if isinstance(request, Embed):
        pooling = request.pooling or engine.info.pooling
        return EmbedTask(job.id, emit, request, tokens_to_embed(request, engine, n_ctx, cancelled), pooling)
    if isinstance(request, Rerank):
        prompts, ranking = prompts_to_rank(request, engine, prompter, n_ctx, cancelled)
        return RankTask(job.id, emit, request, prompts, ranking)
    if not isinstance(request, Chat | Raw):
        return answer_at_once(request, engine, prompter, cancelled)
    if not engine.info.generates:
        raise InvalidRequest("prompt: this model only embeds; use embed", field="prompt")
    check_tokens(request.logit_bias, engine.info.n_vocab)
    if request.logit_bias:
        request = replace(request, logit_bias=_bias(request.logit_bias, engine))
    prepared = _prompt(request, prompter, cancelled)
    if not prepared.tokens:
        raise InvalidRequest(
            "prompt: it has no tokens; say something, or use another template", field="prompt"
        )
    wanted = request.min_tokens or None if request.max_tokens is None else request.max_tokens
    check_fit(len(prepared.tokens), wanted, n_ctx, engine.info.trained_for)
    return Slot(job.id, emit, request, prepared, engine, n_ctx, guide_of(request, prepared, guides))


def _prompt(request: Chat | Raw, prompter: Prompter, cancelled: Callable[[], bool]) -> PreparedPrompt:
    if isinstance(request, Raw) and request.suffix is not None:
        return prompter.fill_in(
            request.prompt,
            request.suffix,
            suffix_first=request.suffix_first,
            parse_special=request.parse_special,
            stop=cancelled,
        )
    if isinstance(request, Raw):
        return prompter.raw(request.prompt, request.parse_special)
    tools = offered(request)
    return prompter.chat(
        cast("Sequence[Mapping[str, Any]]", request.prompt),
        tools,
        variables=request.chat_template_kwargs or {},
        reasoning=request.reasoning,
        continue_final=request.continue_final_message,
        stop=cancelled,
    )


def _bias(logit_bias: LogitBias, engine: Engine) -> dict[int, float]:
    """The numbers to add to logits by token id: texts become their tokens, and numbers for one token are added up.

    Raises:
        InvalidRequest: a text has no tokens, or there are too many.
    """
    found: dict[int, float] = {}
    for key, value in logit_bias.items():
        tokens = (
            [key] if isinstance(key, int) else engine.tokenize(key, add_special=False, parse_special=False)
        )
        if not tokens:
            refuse("logit_bias", key, "leave out the text, which has no tokens in this model")
        for token in tokens:
            found[token] = found.get(token, 0.0) + value
    count("logit_bias", len(found))
    return found
