"""Answers to requests about tokens, which need a vocabulary and a chat template, and no lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ..._checks.model_fit import check_ids
from ..._data.events import Result
from ..._data.text_results import AppliedTemplate
from ..._data.token_requests import ApplyTemplate, Detokenize, Tokenize
from ..engine_protocol import Engine
from ..prompt.prompter import Prompter
from ..prompt.text_size import check_stretches


def answer_at_once(
    request: Tokenize | Detokenize | ApplyTemplate,
    engine: Engine,
    prompter: Prompter,
    cancelled: Callable[[], bool],
) -> Result:
    """The result of a request about tokens.

    Raises:
        InvalidRequest: the model has no such token or no chat template, or the text cannot be tokenized.
        CallCancelled: `cancelled` said True while a chat template was rendered.
    """
    if isinstance(request, Tokenize):
        check_stretches("text", request.text, engine.pre_tokenizer)
        return tuple(
            engine.tokenize(
                request.text, add_special=request.add_special, parse_special=request.parse_special
            )
        )
    if isinstance(request, Detokenize):
        check_ids(request.tokens, engine.info.n_vocab)
        return engine.detokenize(request.tokens, special=request.special).decode(errors="replace")
    messages = cast("Sequence[Mapping[str, Any]]", request.prompt)
    prepared = prompter.chat(
        messages,
        request.tools,
        variables=request.chat_template_kwargs or {},
        continue_final=request.continue_final_message,
        add_generation_prompt=request.add_generation_prompt,
        stop=cancelled,
    )
    return AppliedTemplate(str.__str__(prepared.text), tuple(prepared.tokens))
