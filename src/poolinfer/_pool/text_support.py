"""What a model can do with texts that it embeds or ranks, as far as its file and `Model.load` say."""

from __future__ import annotations

import re

from .._checks.model_fit import check_ids
from .._checks.refusals import refuse
from .._data.errors import InvalidRequest
from .._data.requests import Request
from .._data.specs import Ranking
from .._data.text_requests import Embed, Rerank
from .._data.token_requests import Detokenize
from .._gguf.model_file import ModelFile

# What llama.cpp puts a softmax behind the classifier head of, so that it gives a probability.
_SOFTMAX = frozenset({"qwen3", "qwen3vl"})
_PLACES = re.compile(r"\{(query|document)\}")
_MOST_CHARACTERS = 16 * 1024


def ranking_of(file: ModelFile, reranker: object) -> Ranking | None:
    """How a model ranks documents.

    A file whose pooling is ``rank`` has a classifier head. A model that generates is a judge if its file brings a
    template for reranking, if its name says that it is a reranker, or if `reranker` says so.
    """
    if file.pooling == "rank":
        return "probability" if file.architecture in _SOFTMAX else "logit"
    if file.embedding_only:
        if reranker is not None:
            refuse(
                "reranker",
                reranker,
                f"{file.name} generates no text, so it can answer no question; leave it out",
            )
        return None
    says_so = reranker is not None or file.has_rerank_template or "reranker" in file.name.lower()
    return "judge" if says_so else None


def check_text_options(
    reranker: object, rerank_template: object, query_prefix: object, document_prefix: object
) -> None:
    """Refuse options of `Model.load` about texts that are out of bounds.

    Raises:
        InvalidRequest: one of them is.
    """
    if reranker not in (None, "judge"):
        refuse("reranker", reranker, "use None or 'judge'")
    for field, value in (("query_prefix", query_prefix), ("document_prefix", document_prefix)):
        if value is not None and (not isinstance(value, str) or len(value) > _MOST_CHARACTERS):
            refuse(field, value, f"give a str of at most {_MOST_CHARACTERS:,} characters, or None")
    if rerank_template is None:
        return
    if not isinstance(rerank_template, str) or len(rerank_template) > _MOST_CHARACTERS:
        refuse(
            "rerank_template",
            rerank_template,
            f"give a str of at most {_MOST_CHARACTERS:,} characters, or None",
        )
    if {*_PLACES.findall(rerank_template)} != {"query", "document"}:
        refuse(
            "rerank_template", rerank_template, "put {query} and {document} into it, where the texts belong"
        )


def check_texts(request: Request, name: str, ranking: Ranking | None, width: int, n_vocab: int) -> None:
    """Refuse what a model cannot do with texts and tokens.

    Args:
        request: a checked request.
        name: the model's name.
        ranking: how the model ranks documents.
        width: numbers in the vector of a text; 0 when nobody knows.
        n_vocab: tokens in the vocabulary; 0 when nobody knows.

    Raises:
        InvalidRequest: the model cannot.
    """
    if isinstance(request, Rerank) and ranking is None:
        raise InvalidRequest(
            f"query: {name} is no reranker; load one, or give reranker='judge' to Model.load to have this one"
            " answer yes or no",
            field="query",
        )
    if isinstance(request, Embed):
        if ranking in ("logit", "probability"):
            raise InvalidRequest(f"input: {name} only ranks; use rerank", field="input")
        if request.dimensions is not None and 0 < width < request.dimensions:
            raise InvalidRequest(
                f"dimensions is {request.dimensions}: the vectors of {name} have {width} numbers; use at most so"
                " many",
                field="dimensions",
            )
    if isinstance(request, Detokenize) and n_vocab:
        check_ids(request.tokens, n_vocab)
