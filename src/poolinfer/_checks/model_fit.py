"""Checks of a request against the model that is to answer it: its vocabulary, and the context of one call."""

from __future__ import annotations

from collections.abc import Sequence

from .._data.errors import ContextOverflow, InvalidRequest
from .._data.requests import LogitBias


def check_tokens(logit_bias: LogitBias | None, n_vocab: int) -> None:
    """Refuse a ``logit_bias`` of tokens that the model does not have."""
    for token in logit_bias or ():
        if isinstance(token, int) and not 0 <= token < n_vocab:
            raise InvalidRequest(
                f"logit_bias key {token}: use token ids from 0 to {n_vocab - 1}, which this model has",
                field="logit_bias",
            )


def check_ids(tokens: Sequence[int], n_vocab: int) -> None:
    """Refuse token ids that the model does not have.

    Raises:
        InvalidRequest: there is one; the error names the first.
    """
    if max(tokens, default=0) < n_vocab:
        return
    i = next(i for i, token in enumerate(tokens) if token >= n_vocab)
    raise InvalidRequest(
        f"tokens[{i}] is {tokens[i]}: use token ids from 0 to {n_vocab - 1}, which this model has",
        field=f"tokens[{i}]",
    )


def check_fit(n_prompt: int, max_tokens: int | None, n_ctx: int, n_train: int = 0) -> None:
    """Refuse a prompt that does not fit one call's context with the tokens asked for.

    Args:
        n_prompt: tokens of the prompt.
        max_tokens: tokens to generate, or None for as many as fit, at least one.
        n_ctx: tokens that one call may use.
        n_train: tokens that the model was trained for; 0 when nobody knows.

    Raises:
        ContextOverflow: prompt and output together have more than `n_ctx` tokens.
    """
    wanted = 1 if max_tokens is None else max_tokens
    if n_prompt + wanted <= n_ctx:
        return
    advice = ["shorten the prompt"]
    if n_prompt < n_ctx:
        advice.append("lower max_tokens")
    after = "at least one has to follow" if max_tokens is None else f"{wanted} more are asked for"
    raise ContextOverflow(
        f"prompt has {n_prompt} tokens and {after}, but a call may use {n_ctx}:"
        f" {with_room(advice, n_ctx, n_train)}",
        n_prompt=n_prompt,
        n_ctx=n_ctx,
    )


def check_text_fit(field: str, n_tokens: int, n_ctx: int, n_train: int = 0) -> None:
    """Refuse a text to embed that has more tokens than one call's context; nothing is generated after it.

    Raises:
        ContextOverflow: ``n_tokens > n_ctx``; `field` names the text.
    """
    if n_tokens > n_ctx:
        advice = ["embed shorter texts", "cut them with truncate=True"]
        raise ContextOverflow(
            f"{field} has {n_tokens} tokens, but a call may use {n_ctx}: {with_room(advice, n_ctx, n_train)}",
            field=field,
            n_prompt=n_tokens,
            n_ctx=n_ctx,
        )


def with_room(advice: Sequence[str], n_ctx: int, n_train: int) -> str:
    """What to do about too little room; a larger context is advised only where the model was trained for one."""
    trained = f" (this model was trained for {n_train})" if n_train else ""
    if n_train and n_ctx >= n_train:
        return f"{' or '.join(advice)}{trained}"
    return f"{', '.join(advice)} or raise n_ctx{trained}"
