"""Requests that have texts computed and no text generated: `Embed` and `Rerank`, frozen plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias

from typing_extensions import TypeVar

from .option_names import options_of_class
from .request_fields import RequestFields, RequestOptions

#: How token vectors become one text vector.
Pooling: TypeAlias = Literal["mean", "cls", "last"]
#: What a text to embed is: a question, or a text among which answers are looked for.
InputType: TypeAlias = Literal["query", "document"]
#: One text to embed, or several.
InputT_co = TypeVar("InputT_co", bound=str | Sequence[str], default=Any, covariant=True)


@options_of_class
@dataclass(frozen=True, slots=True)
class Embed(RequestFields, Generic[InputT_co]):
    """A text or several to turn into vectors.

    Attributes:
        input: one text, whose result is an `Embedding`, or several texts, whose result is a list of embeddings.
        pooling: how token vectors become one vector; None for what the model says, else ``"mean"``.
        normalize: whether to scale vectors to length 1.
        dimensions: how many numbers each vector is to have. The vector is cut after so many and scaled to length 1,
            which suits models that were trained for it (Matryoshka). None for all of them.
        input_type: ``"query"`` or ``"document"`` puts the model's prefix for such texts before each text; None puts
            nothing before it. `Model.load` takes the prefixes.
        truncate: whether to cut off the end of a text that has more tokens than `n_ctx`, instead of refusing it.
        late_chunking: whether the texts are passages of one document, in order. It is computed as a whole,
            so each passage's vector knows of the other passages. All passages together have to fit `n_ctx`.
        timeout: seconds that the call may take, waiting included; None for no bound.
        priority: calls of a higher priority are served first, those of the same priority in the order they came.
    """

    input: InputT_co
    pooling: Pooling | None = None
    normalize: bool = False
    dimensions: int | None = None
    input_type: InputType | None = None
    truncate: bool = False
    late_chunking: bool = False


@options_of_class
@dataclass(frozen=True, slots=True)
class Rerank(RequestFields):
    """Documents to rank by how well each of them answers a query. The result is a list of `RankedDocument`.

    Attributes:
        query: the question.
        documents: the texts to rank.
        top_n: how many documents the result has at most, the best ones; None for all.
        raw_scores: whether a score is what the model gave, from minus to plus infinity, instead of 0 to 1. For a
            classifier head that is its logit, and for a judge the logit of "yes" minus that of "no". The score
            from 0 to 1 is the sigmoid of it. A head whose output is a probability gives that in either case.
        truncate: whether to cut off the end of a document that does not fit `n_ctx` together with the query,
            instead of refusing it. The query is never cut.
        timeout: seconds that the call may take, waiting included; None for no bound.
        priority: calls of a higher priority are served first, those of the same priority in the order they came.
    """

    query: str
    documents: Sequence[str]
    top_n: int | None = None
    raw_scores: bool = False
    truncate: bool = False


class EmbedOptions(RequestOptions, total=False):
    """Options of ``embed``; see `Embed`."""

    pooling: Pooling | None
    normalize: bool
    dimensions: int | None
    input_type: InputType | None
    truncate: bool
    late_chunking: bool


class RerankOptions(RequestOptions, total=False):
    """Options of ``rerank``; see `Rerank`."""

    top_n: int | None
    raw_scores: bool
    truncate: bool
