"""Requests about tokens, which a model's vocabulary and chat template answer: frozen plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .option_names import options_of_class
from .prompt_builder import ChatInput
from .request_fields import RequestFields, RequestOptions


@options_of_class
@dataclass(frozen=True, slots=True)
class Tokenize(RequestFields):
    """A text to turn into token ids. The result is a list of int.

    Attributes:
        text: the text; it may be empty.
        add_special: whether to add what the model wants around a text (BOS, EOS), as `Raw` does.
        parse_special: whether control tokens spelled in the text (``<|im_end|>``) count as such.
        timeout: seconds that the call may take, waiting included; None for no bound.
        priority: calls of a higher priority are served first, those of the same priority in the order they came.
    """

    text: str
    add_special: bool = True
    parse_special: bool = False


@options_of_class
@dataclass(frozen=True, slots=True)
class Detokenize(RequestFields):
    """Token ids to turn into text. The result is a str; bytes that are no UTF-8 become replacement marks.

    Attributes:
        tokens: the ids; there may be none.
        special: whether control tokens are shown as they are spelled, instead of left out.
        timeout: seconds that the call may take, waiting included; None for no bound.
        priority: calls of a higher priority are served first, those of the same priority in the order they came.
    """

    tokens: Sequence[int]
    special: bool = False


@options_of_class
@dataclass(frozen=True, slots=True)
class ApplyTemplate(RequestFields):
    """Messages to put into the model's chat template. The result is an `AppliedTemplate`.

    Attributes:
        prompt: text of one user turn, OpenAI-shaped messages, or a `Prompt`.
        tools: OpenAI-shaped function tools that the model may call.
        add_generation_prompt: whether the prompt ends where the answer begins, as that of `Chat` does.
        chat_template_kwargs: further variables for the chat template, by their names.
        continue_final_message: whether the last message is an assistant's, which the answer is to continue.
        timeout: seconds that the call may take, waiting included; None for no bound.
        priority: calls of a higher priority are served first, those of the same priority in the order they came.
    """

    prompt: ChatInput
    tools: Sequence[Mapping[str, Any]] = ()
    add_generation_prompt: bool = True
    chat_template_kwargs: Mapping[str, Any] | None = None
    continue_final_message: bool = False


class TokenizeOptions(RequestOptions, total=False):
    """Options of ``tokenize``; see `Tokenize`."""

    add_special: bool
    parse_special: bool


class DetokenizeOptions(RequestOptions, total=False):
    """Options of ``detokenize``; see `Detokenize`."""

    special: bool


class ApplyTemplateOptions(RequestOptions, total=False):
    """Options of ``apply_template``; see `ApplyTemplate`."""

    tools: Sequence[Mapping[str, Any]]
    add_generation_prompt: bool
    chat_template_kwargs: Mapping[str, Any] | None
    continue_final_message: bool


class CountTokensOptions(ApplyTemplateOptions, TokenizeOptions, total=False):
    """Options of ``count_tokens``: those of `Tokenize` for a text, those of `ApplyTemplate` for messages."""
