"""From a query and a document to the tokens of one prompt, for models that rank.

A model may have a template for them: a text with ``{query}`` and ``{document}`` in their places. The template alone
may spell control tokens. Without one, the tokens go between those that the vocabulary puts around a pair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..._checks.model_fit import with_room
from ..._data.errors import ContextOverflow
from ..tokenizer import Tokenizer
from .prompter import Prompter
from .sandbox.authored_text import FOREIGN, join, written
from .text_size import check_size, check_stretches, shortened

# The words of Qwen3-Reranker's prompt (its model card), which its GGUF files bring with them as a template.
_SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided."
    ' Note that the answer can only be "yes" or "no".'
)
_USER = (
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
    "<Query>: {query}\n<Document>: {document}"
)
_CHATML = (
    f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n{_USER}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
_PLACES = re.compile(r"\{(query|document)\}")


def judge_template(tokenizer: Tokenizer, prompter: Prompter) -> str:
    """The prompt for a judge whose file brings none: Qwen3-Reranker's words in the model's own chat template.

    A judge answers at once, so a template that can has it reason about nothing.
    """
    info = tokenizer.info
    if info.chat_template is None:
        return _CHATML
    turns = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    prepared = prompter.chat(turns, (), variables={"enable_thinking": False})
    template = str.__str__(prepared.text)
    # What a chat has before its template has a beginning-of-text token that the template does not write.
    missing = len(prepared.tokens) > len(prompter.assembled(template, lambda: False))
    return info.bos + template if missing else template


class RerankPrompts:
    """The prompts of one query with its documents.

    Args:
        tokenizer: the model's tokenizer.
        prompter: makes tokens of templates.
        template: the model's template, or None for a model that has none.
        query: what the documents are ranked by.
        n_ctx: tokens that one prompt may have.
        stop: says whether the call was given up.

    Raises:
        InvalidRequest: the query cannot be tokenized, or it leaves no room for a document.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompter: Prompter,
        template: str | None,
        query: str,
        n_ctx: int,
        stop: Callable[[], bool],
    ) -> None:
        self._tokenizer = tokenizer
        self._prompter = prompter
        self._n_ctx = n_ctx
        self._stop = stop
        self._query = query
        check_size("query", query, tokenizer, n_ctx)
        self._parts = [] if template is None else _PLACES.split(template)
        self._head, self._tail = self._around()
        if self._room < 1:
            raise ContextOverflow(
                f"query leaves no room for a document: with what goes around both it has"
                f" {n_ctx - self._room} tokens, but a call may use {n_ctx}:"
                f" {with_room(['shorten it'], n_ctx, tokenizer.info.trained_for)}",
                field="query",
                n_prompt=n_ctx - self._room,
                n_ctx=n_ctx,
            )

    @property
    def _room(self) -> int:
        """Tokens that are left for a document."""
        return self._n_ctx - len(self._head) - len(self._tail)

    def _around(self) -> tuple[list[int], list[int]]:
        """The tokens before a document and after it."""
        if not self._parts:
            before, between, after = self._tokenizer.info.pair
            return [*before, *self._plain(self._query), *between], list(after)
        place = max(i for i in range(1, len(self._parts), 2) if self._parts[i] == "document")
        return self._assembled(self._parts[:place], ""), self._assembled(self._parts[place + 1 :], "")

    def prompt(self, field: str, document: str, *, truncate: bool) -> list[int]:
        """The tokens of a prompt.

        Args:
            field: what the document is, for messages.
            document: the document.
            truncate: whether its end is cut off where it does not fit.

        Raises:
            ContextOverflow: the document does not fit.
            InvalidRequest: the document cannot be tokenized.
        """
        if truncate:
            document = shortened(document, self._tokenizer, self._n_ctx)
            check_stretches(field, document, self._tokenizer.pre_tokenizer)
        else:
            check_size(field, document, self._tokenizer, self._n_ctx)
        if self._parts:
            tokens = self._assembled(self._parts, document)
        else:
            tokens = [*self._head, *self._plain(document), *self._tail]
        if len(tokens) <= self._n_ctx:
            return tokens
        if not truncate:
            raise self._too_long(field, len(tokens))
        return tokens[: self._n_ctx - len(self._tail)] + self._tail

    def _too_long(self, field: str, n_tokens: int) -> ContextOverflow:
        trained = self._tokenizer.info.trained_for
        advice = with_room(["rank shorter documents", "cut them with truncate=True"], self._n_ctx, trained)
        return ContextOverflow(
            f"{field} has {n_tokens} tokens with the query, but a call may use {self._n_ctx}: {advice}",
            field=field,
            n_prompt=n_tokens,
            n_ctx=self._n_ctx,
        )

    def _assembled(self, parts: Sequence[str], document: str) -> list[int]:
        """Tokens of some parts of the template; those at odd indices name a text."""
        texts = {"query": written(self._query, FOREIGN), "document": written(document, FOREIGN)}
        found = [texts[part] if i % 2 else part for i, part in enumerate(parts)]
        return self._prompter.assembled(join(found), self._stop)

    def _plain(self, text: str) -> list[int]:
        return self._tokenizer.tokenize(text, add_special=False, parse_special=False)
