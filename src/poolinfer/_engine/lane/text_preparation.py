"""From texts to embed or to rank to the tokens that a lane computes."""

from __future__ import annotations

from collections.abc import Callable

from ..._checks.model_fit import check_text_fit
from ..._data.errors import CALL_WAS_CANCELLED, CallCancelled, ContextOverflow, InvalidRequest
from ..._data.specs import Ranking
from ..._data.text_requests import Embed, Rerank
from ..engine_protocol import Engine
from ..prompt.prompter import Prompter
from ..prompt.rerank_prompt import RerankPrompts, judge_template
from ..prompt.text_size import check_size, check_stretches, shortened


def check_going(cancelled: Callable[[], bool]) -> None:
    """Raise `CallCancelled` where the call was given up."""
    if cancelled():
        raise CallCancelled(CALL_WAS_CANCELLED)


def tokens_to_embed(
    request: Embed, engine: Engine, n_ctx: int, cancelled: Callable[[], bool]
) -> list[list[int]]:
    """The tokens of each text to embed; of passages, those of each passage of the one text.

    Raises:
        InvalidRequest: a text cannot be tokenized, or an option does not suit the model.
        ContextOverflow: a text does not fit `n_ctx` tokens, or all passages together do not.
        CallCancelled: `cancelled` said True.
    """
    _check_options(request, engine)
    prefix = _prefix(request, engine)
    if request.late_chunking:
        return _passages(request, prefix, engine, n_ctx, cancelled)
    if isinstance(request.input, str):
        return [_text("input", prefix, request.input, request.truncate, engine, n_ctx)]
    texts: list[list[int]] = []
    for i, text in enumerate(request.input):
        check_going(cancelled)
        texts.append(_text(f"input[{i}]", prefix, text, request.truncate, engine, n_ctx))
    return texts


def _check_options(request: Embed, engine: Engine) -> None:
    info = engine.info
    if info.ranking not in (None, "judge"):
        raise InvalidRequest("input: this model only ranks; use rerank", field="input")
    if request.dimensions is not None and 0 < info.width < request.dimensions:
        raise InvalidRequest(
            f"dimensions is {request.dimensions}: this model's vectors have {info.width} numbers; use at most"
            " so many",
            field="dimensions",
        )
    if request.late_chunking and request.pooling is None and info.pooling == "cls":
        raise InvalidRequest(
            "late_chunking pools the tokens of each passage, but this model's vectors are those of its first token"
            " (cls); give pooling='mean' if the model is fit for that",
            field="late_chunking",
        )


def _prefix(request: Embed, engine: Engine) -> str:
    """What is put before each text."""
    if request.input_type is None:
        return ""
    info = engine.info
    if info.query_prefix is None and info.document_prefix is None:
        raise InvalidRequest(
            f"input_type is {request.input_type!r}, but nobody has said which prefixes this model wants: give"
            " query_prefix= and document_prefix= to Model.load ('' for none)",
            field="input_type",
        )
    return (info.query_prefix if request.input_type == "query" else info.document_prefix) or ""


def _text(field: str, prefix: str, text: str, truncate: bool, engine: Engine, n_ctx: int) -> list[int]:
    text = prefix + text
    if truncate:
        text = shortened(text, engine, n_ctx)
        check_stretches(field, text, engine.pre_tokenizer)
    else:
        check_size(field, text, engine, n_ctx)
    tokens = engine.tokenize(text, add_special=True, parse_special=False)
    if not tokens:
        raise InvalidRequest(f"{field} has no tokens: give some text", field=field)
    if truncate and len(tokens) > n_ctx:
        _, after = _around(tokens, engine)
        tokens = tokens[: n_ctx - len(after)] + after
    check_text_fit(field, len(tokens), n_ctx, engine.info.trained_for)
    return tokens


def _around(tokens: list[int], engine: Engine) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after every text (a ``[CLS]``, a ``[SEP]``), of which these are tokens."""
    around = engine.tokenize("", add_special=True, parse_special=False)
    n = next((i for i, token in enumerate(around) if i >= len(tokens) or token != tokens[i]), len(around))
    return around[:n], around[n:]


def _passages(
    request: Embed, prefix: str, engine: Engine, n_ctx: int, cancelled: Callable[[], bool]
) -> list[list[int]]:
    """The tokens of each passage. What goes around a text belongs to the first passage and to the last one."""
    found: list[list[int]] = []
    for i, passage in enumerate(request.input):
        check_going(cancelled)
        field = f"input[{i}]"
        check_size(field, passage, engine, n_ctx)
        found.append(
            engine.tokenize((prefix if i == 0 else "") + passage, add_special=False, parse_special=False)
        )
        if not found[-1]:
            raise InvalidRequest(f"{field} has no tokens: give some text", field=field)
    whole = engine.tokenize(prefix + request.input[0], add_special=True, parse_special=False)
    before, after = _around(whole, engine)
    found[0], found[-1] = before + found[0], found[-1] + after
    n = sum(map(len, found))
    if n > n_ctx:
        raise ContextOverflow(
            f"input has {n} tokens in all its passages, which are computed together, but a call may use {n_ctx}:"
            " give the passages of a part of the document, or raise n_ctx",
            field="input",
            n_prompt=n,
            n_ctx=n_ctx,
        )
    return found


def prompts_to_rank(
    request: Rerank, engine: Engine, prompter: Prompter, n_ctx: int, cancelled: Callable[[], bool]
) -> tuple[list[list[int]], Ranking]:
    """The tokens of a prompt for each document, and how the model ranks them.

    Raises:
        InvalidRequest: the model is no reranker, or a text cannot be tokenized.
        ContextOverflow: a document does not fit `n_ctx` tokens together with the query.
        CallCancelled: `cancelled` said True.
    """
    info = engine.info
    if info.ranking is None:
        raise InvalidRequest(
            "query: this model is no reranker; load one, or give reranker='judge' to Model.load to have this one"
            " answer yes or no",
            field="query",
        )
    template = info.named_templates.get("rerank")
    if template is None and info.ranking == "judge":
        template = judge_template(engine, prompter)
    check_going(cancelled)
    prompts = RerankPrompts(engine, prompter, template, request.query, n_ctx, cancelled)
    found: list[list[int]] = []
    for i, document in enumerate(request.documents):
        check_going(cancelled)
        found.append(prompts.prompt(f"documents[{i}]", document, truncate=request.truncate))
    return found, info.ranking
