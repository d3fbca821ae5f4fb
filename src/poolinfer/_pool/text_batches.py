"""Many texts to embed, as several calls: splits the texts, and rewords the error of one call for all texts."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from .._checks.limits import number
from .._checks.normalize import normalize_at_once
from .._checks.refusals import refuse
from .._data.errors import DeadlineExceeded, InvalidRequest, PoolinferError
from .._data.requests import Embed, EmbedOptions
from .bulk import Bulk, BulkItem
from .call import Call

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
    submit: Callable[[Embed], Call[Any]], input: str | Iterable[str], options: EmbedOptions
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
    batches = split(input)
    first, second = next(batches, None), next(batches, None)
    if first is None:
        normalize_at_once(Embed("x", **options))  # for its errors
        return TextBatches(submit, (), options)
    if second is None:
        return submit(Embed(first.texts, **options))
    return TextBatches(submit, chain((first, second), batches), options)


def split(input: str | Iterable[str]) -> Iterator[TextBatch]:
    """The texts in batches, or nothing where there are none. What is no iterable of texts is a batch by itself.

    Raises:
        InvalidRequest: `input` is an async iterable.
    """
    if isinstance(input, AsyncIterable):
        refuse("input", input, "async iterables are not taken; collect the texts in a list before")
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
        batches: the texts; read only as far as needed.
        options: those of each call; `timeout` is for all of them together.

    Attributes:
        bulk: all calls, to be run with `vectors`.

    Raises:
        InvalidRequest: `timeout` is out of bounds.
    """

    def __init__(
        self, submit: Callable[[Embed], Call[Any]], batches: Iterable[TextBatch], options: EmbedOptions
    ) -> None:
        self._submit = submit
        self._options = options
        self._timeout = number("timeout", options.get("timeout"))
        self._began = time.monotonic()
        self.bulk: Bulk = Bulk(
            batches,
            submit=self._call,
            window=lambda: _WINDOW,
            ordered=True,
            patient=False,
            instead="`await aembed(..)`",
        )

    def _call(self, batch: TextBatch) -> Call[Any]:
        options = self._options.copy()
        if self._timeout is not None:
            options["timeout"] = max(0.0, self._timeout - (time.monotonic() - self._began))
        return self._submit(Embed(batch.texts, **options))

    def vectors(self, item: BulkItem) -> Any:
        """The vectors of a batch.

        Raises:
            PoolinferError: the error of its call, with the timeout and the index that the caller knows.
        """
        outcome = item.outcome()
        if not isinstance(outcome, PoolinferError):
            return outcome
        if isinstance(outcome, DeadlineExceeded):
            raise DeadlineExceeded(
                f"the texts were not embedded within their timeout of {self._timeout} s",
                timeout=self._timeout or 0.0,
            )
        raise _with_index_among_all(outcome, item.given.start)


def _with_index_among_all(error: PoolinferError, start: int) -> PoolinferError:
    """The error of a batch that begins at `start`: one that names a text names it by its index among all texts."""
    found = re.match(r"input\[(\d+)\]", error.field) if isinstance(error, InvalidRequest) else None
    if found is not None and isinstance(error, InvalidRequest):
        name = f"input[{start + int(found[1])}]"
        error.field = error.field.replace(found[0], name, 1)
        error.args = (error.message.replace(found[0], name, 1),)
    return error
