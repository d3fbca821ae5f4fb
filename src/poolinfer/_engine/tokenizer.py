"""What a prompter needs of an engine: its tokenizer, and what the model says of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class FillInTokens(NamedTuple):
    """The control tokens around which a model fills a gap in a text.

    Attributes:
        prefix: id of the one before the text that precedes the gap.
        suffix: id of the one before the text that follows the gap.
        middle: id of the one after which the model writes what belongs into the gap.
    """

    prefix: int
    suffix: int
    middle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerInfo:
    """What a tokenizer knows of its model.

    Attributes:
        n_vocab: tokens in the vocabulary.
        n_ctx_train: context length that the model was trained for.
        n_positions: positions that the model has learned (no context is longer), or None where they are computed.
        chat_template: Jinja source of the model's chat template, or None.
        named_templates: further templates by their names: ``"tool_use"``, ``"rag"``, ``"rerank"``. The last one
            is no Jinja: it has ``{query}`` and ``{document}`` where these texts belong.
        template_variables: variables for chat templates that a host has given for every call.
        control: spellings of the control tokens, which no user's text may become.
        control_ids: ids of the control tokens.
        markers: spellings of the user-defined tokens (``<think>``), which no untrusted turn may become.
        bos: text of the beginning-of-text token, or ``""``.
        eos: text of the end-of-text token, or ``""``.
        fill_in: the tokens with which the model fills gaps, or None for a model that has not learned that.
        pair: tokens before, between and after a query and a document, where there is no template ``"rerank"``.
    """

    n_vocab: int
    n_ctx_train: int
    n_positions: int | None = None
    chat_template: str | None = None
    named_templates: Mapping[str, str] = field(default_factory=dict)
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    control: tuple[str, ...] = ()
    control_ids: frozenset[int] = frozenset()
    markers: tuple[str, ...] = ()
    bos: str = ""
    eos: str = ""
    fill_in: FillInTokens | None = None
    pair: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())

    @property
    def trained_for(self) -> int:
        """Tokens of the longest context that makes sense; 0 when nobody knows."""
        return self.n_positions or self.n_ctx_train


class Tokenizer(Protocol):
    """Turns text into tokens; its methods may be called from any thread."""

    @property
    def info(self) -> TokenizerInfo:
        """What the tokenizer knows of its model."""
        ...

    @property
    def token_bytes(self) -> int | None:
        """Most bytes of a text that one token stands for; None where there is no bound (``[UNK]`` for a word)."""
        ...

    @property
    def pre_tokenizer(self) -> str:
        """llama.cpp's name of the patterns that cut a text into words, or ``""``."""
        ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of a text; `add_special` adds what the model wants around it (BOS, EOS).

        Raises:
            InvalidRequest: the text has too long a stretch without a break (see `text_size`).
            EngineFault: the text cannot be tokenized.
        """
        ...
