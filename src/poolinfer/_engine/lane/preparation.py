"""From a job to a task that a lane can run: rendered, tokenized, and checked against the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ..._checks.model_fit import check_fit, check_tokens
from ..._data.errors import InvalidRequest
from ..._data.events import Emit, Job, Result
from ..._data.requests import Chat, Raw
from ..._data.text_requests import Embed, Rerank
from ..engine_protocol import Engine
from ..guide.guide import Guide
from ..guide.guide_grammar import grammar_of
from ..guide.guides import Guides
from ..prompt.prompter import PreparedPrompt, Prompter
from .embedder import EmbedTask
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
    prepared = _prompt(request, prompter, cancelled)
    if not prepared.tokens:
        raise InvalidRequest(
            "prompt: it has no tokens; say something, or use another template", field="prompt"
        )
    check_fit(len(prepared.tokens), request.max_tokens, n_ctx, engine.info.trained_for)
    return Slot(job.id, emit, request, prepared, engine, n_ctx, _guide(request, guides))


def _guide(request: Chat | Raw, guides: Guides) -> Guide | None:
    constraint = getattr(request, "constraint", None)
    return None if constraint is None else guides.guide(grammar_of(constraint))


def _prompt(request: Chat | Raw, prompter: Prompter, cancelled: Callable[[], bool]) -> PreparedPrompt:
    if isinstance(request, Raw):
        return prompter.raw(request.prompt, request.parse_special)
    tools = request.tools if request.tool_choice != "none" else ()
    return prompter.chat(
        cast("Sequence[Mapping[str, Any]]", request.prompt),
        tools,
        variables=request.chat_template_kwargs or {},
        continue_final=request.continue_final_message,
        stop=cancelled,
    )
