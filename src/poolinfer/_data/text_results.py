"""What a caller gets who has texts ranked or put into a template, frozen plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """What a model gave one document; an executor answers a `Rerank` with one for each document, in their order.

    Attributes:
        value: the score; a higher one is a better answer to the query.
        prompt_tokens: tokens of the query and the document together.
    """

    value: float
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """One document of a `Rerank`, by how well it answers the query.

    Attributes:
        index: the document's place among those of the request.
        relevance_score: the score that the model gave it, from 0 to 1 unless `raw_scores` was asked for; a higher
            one is a better answer.
        document: the text of the document.
        prompt_tokens: tokens of the query and the document together.
    """

    index: int
    relevance_score: float
    document: str
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class AppliedTemplate:
    """Messages as the prompt that the model's chat template makes of them.

    Attributes:
        text: the prompt as text.
        tokens: the prompt's token ids, as a chat with these messages computes them.
    """

    text: str
    tokens: tuple[int, ...]
