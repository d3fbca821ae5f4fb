"""What an executor's result means for the owner of a call: the kind of outcome follows from the kind of request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .._data.errors import EngineError, PoolinferError
from .._data.events import Result
from .._data.requests import Chat, Raw, Request
from .._data.results import Embedding, Response
from .._data.text_requests import Embed, Rerank
from .._data.text_results import AppliedTemplate, DocumentScore, RankedDocument
from .._data.token_requests import ApplyTemplate, Detokenize, Tokenize

#: The result of a call: `CallMethods.submit` says which request has which.
Answer: TypeAlias = (
    Response | Embedding | list[Embedding] | list[RankedDocument] | list[int] | str | AppliedTemplate
)
#: How a call can end: with its result, or with an error.
Outcome: TypeAlias = Answer | PoolinferError


def outcome_of(request: Request, result: Result) -> Outcome:
    """The outcome of a call; an `EngineError` where the executor's result is none for such a request."""
    kind, read = _READERS[type(request)]
    if isinstance(result, kind):
        return read(request, result)
    return EngineError(f"the executor gave a {type(result).__name__} for a {type(request).__name__}")


def _as_it_is(_: Request, result: Any) -> Outcome:
    return result  # type: ignore[no-any-return]


def _ids(_: Request, result: tuple[Any, ...]) -> Outcome:
    return list(result)


def _vectors(request: Embed, result: tuple[Any, ...]) -> Outcome:
    """To embed one text gives one vector, to embed a list gives a list."""
    one = isinstance(request.input, str)
    wanted = 1 if one else len(request.input)
    if len(result) != wanted:
        return EngineError(f"the executor gave {len(result)} vectors for {wanted} texts")
    return result[0] if one else list(result)


def _ranking(request: Rerank, result: tuple[DocumentScore, ...]) -> Outcome:
    """The best documents first; of equal ones, the first first."""
    if len(result) != len(request.documents):
        return EngineError(f"the executor gave {len(result)} scores for {len(request.documents)} documents")
    found = [
        RankedDocument(index, score.value, document, score.prompt_tokens)
        for index, (document, score) in enumerate(zip(request.documents, result, strict=True))
    ]
    return best(found, request.top_n)


def best(documents: list[RankedDocument], top_n: int | None) -> list[RankedDocument]:
    """The best documents first, so many of them; of documents with equal scores, the first first."""
    return sorted(documents, key=lambda found: (-found.relevance_score, found.index))[:top_n]


#: Of each kind of request, the type of its results, and what makes an outcome of one.
_READERS: Mapping[type[Any], tuple[type[Any], Callable[[Any, Any], Outcome]]] = {
    Chat: (Response, _as_it_is),
    Raw: (Response, _as_it_is),
    Embed: (tuple, _vectors),
    Rerank: (tuple, _ranking),
    Tokenize: (tuple, _ids),
    Detokenize: (str, _as_it_is),
    ApplyTemplate: (AppliedTemplate, _as_it_is),
}
