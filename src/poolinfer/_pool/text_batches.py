"""Many texts to embed or to rank, as several calls: splits them, and rewords one call's error for all texts."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from .._checks.limits import number
from .._checks.normalize import normalize_at_once
from .._checks.refusals import refuse
from .._data.errors import DeadlineExceeded, InvalidRequest, PoolinferError
from .._data.text_requests import Embed, EmbedOptions, Rerank, RerankOptions
from .._data.text_results import RankedDocument
from .bulk import Bulk, BulkItem
from .call import Call

_Submit: TypeAlias = Callable[[Any], Call[Any]]
#: Makes the request for some of the texts.
_Make: TypeAlias = Callable[[Any], Embed[Any] | Rerank]

# A call of this size keeps a lane busy for a while; a larger one would only keep other calls from their turn.
_TEXTS = 256
_CHARACTERS = 2**20
# While one call computes, the next ones wait, also for several lanes; more would take the slots of other callers.
_WINDOW = 4


class TextBatch(NamedTuple):
    """The texts of one call.

    Attributes:
        start: index of its first text among all texts.
        texts: what the call is given: a list of texts, or one text that is not in a list.
    """

    start: int
    texts: Any


def embed_calls(
    submit: _Submit, input: str | Iterable[str], options: EmbedOptions
) -> Call[Any] | TextBatches:
    """The call that `embed` and `aembed` wait for, or several calls where there are more texts than one takes.

    Args:
        submit: makes a call.
        input: one text, or several.
        options: those of `Embed`.

    Raises:
        InvalidRequest: the texts or the options are not acceptable, as far as that is known before they are read.
        PoolError: what `submit` raises.
    """
    if options.get("late_chunking") and isinstance(input, Iterable) and not isinstance(input, str):
        # The passages of a document are computed as a whole.
        return submit(Embed(list(input), **options))
    return _calls(submit, lambda texts: Embed(texts, **options), "input", input)


def rerank_calls(
    submit: _Submit, query: str, documents: Iterable[str], options: RerankOptions
) -> Call[Any] | TextBatches:
    """The call that `rerank` and `arerank` wait for, or several calls where there are many documents.

    Args:
        submit: makes a call.
        query: what the documents are ranked by.
        documents: the documents.
        options: those of `Rerank`.

    Raises:
        InvalidRequest: the texts or the options are not acceptable, as far as that is known before they are read.
        PoolError: what `submit` raises.
    """
    return _calls(submit, lambda texts: Rerank(query, texts, **options), "documents", documents)


def _calls(submit: _Submit, make: _Make, field: str, given: Any) -> Call[Any] | TextBatches:
    batches = split(field, given)
    first, second = next(batches, None), next(batches, None)
    if first is None:
        normalize_at_once(make(["x"]))  # for its errors
        return TextBatches(submit, make, (), field)
    if second is None:
        return submit(make(first.texts))
    return TextBatches(submit, make, chain((first, second), batches), field)


def split(field: str, input: str | Iterable[str]) -> Iterator[TextBatch]:
    """The texts in batches, or nothing where there are none. What is no iterable of texts is a batch by itself.

    Raises:
        InvalidRequest: `input`, whose name is `field`, is an async iterable.
    """
    if isinstance(input, AsyncIterable):
        refuse(field, input, "async iterables are not taken; collect the texts in a list before")
    if not isinstance(input, Iterable) or isinstance(input, str | bytes | bytearray | memoryview | Mapping):
        # One text, or what `submit` refuses.
        yield TextBatch(0, input)
        return
    start, texts, size = 0, list[str](), 0
    for text in input:
        length = len(text) if isinstance(text, str) else 0
        if texts and (len(texts) == _TEXTS or size + length > _CHARACTERS):
            yield TextBatch(start, texts)
            start, texts, size = start + len(texts), [], 0
        texts.append(text)
        size += length
    if texts:
        yield TextBatch(start, texts)


class TextBatches:
    """The calls of several batches, which share one deadline.

    Args:
        submit: makes a call.
        make: makes the request for some of the texts.
        batches: the texts; read only as far as needed.
        field: what requests call the texts. Their `timeout` is for all of them together.

    Attributes:
        bulk: all calls, to be run with `results`.

    Raises:
        InvalidRequest: `timeout` is out of bounds.
    """

    def __init__(self, submit: _Submit, make: _Make, batches: Iterable[TextBatch], field: str) -> None:
        self._submit = submit
        self._make = make
        self._field = field
        self._timeout = number("timeout", make([]).timeout)
        self._began = time.monotonic()
        self.bulk: Bulk = Bulk(
            batches,
            submit=self._call,
            window=lambda: _WINDOW,
            ordered=True,
            patient=False,
            instead="`await aembed(..)`" if field == "input" else "`await arerank(..)`",
        )

    def _call(self, batch: TextBatch) -> Call[Any]:
        request = self._make(batch.texts)
        if self._timeout is None:
            return self._submit(request)
        left = max(0.0, self._timeout - (time.monotonic() - self._began))
        return self._submit(replace(request, timeout=left))

    def results(self, item: BulkItem) -> Any:
        """The results of a batch; those that name a text do so by its index among all texts.

        Raises:
            PoolinferError: the error of its call, with the timeout and the index that the caller knows.
        """
        outcome, start = item.outcome(), item.given.start
        if isinstance(outcome, DeadlineExceeded):
            done = "embedded" if self._field == "input" else "ranked"
            raise DeadlineExceeded(
                f"the texts were not {done} within their timeout of {self._timeout} s",
                timeout=self._timeout or 0.0,
            )
        if isinstance(outcome, PoolinferError):
            raise _with_index_among_all(outcome, self._field, start)
        return [
            replace(one, index=start + one.index) if isinstance(one, RankedDocument) else one
            for one in outcome
        ]


def _with_index_among_all(error: PoolinferError, field: str, start: int) -> PoolinferError:
    """The error of a batch that begins at `start`: one that names a text names it by its index among all texts."""
    found = re.match(rf"{field}\[(\d+)\]", error.field) if isinstance(error, InvalidRequest) else None
    if found is not None and isinstance(error, InvalidRequest):
        name = f"{field}[{start + int(found[1])}]"
        error.field = error.field.replace(found[0], name, 1)
        error.args = (error.message.replace(found[0], name, 1),)
    return error
