"""Many texts to embed, as several calls: how they are split, and what the errors of a part say of the whole."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .._checks.limits import number
from .._checks.refusals import refuse
from .._data.errors import DeadlineExceeded, InvalidRequest, PoolinferError
from .._data.requests import Embed, EmbedOptions
from .bulk import Bulk, Item
from .call import Call

# A call of this size keeps a lane busy for a while; larger ones would only keep other calls from their turn.
_TEXTS = 256
_CHARACTERS = 2**20
# A call computes while the next ones wait, on several lanes too; more would take the slots of others.
_WINDOW = 4


class TextBatch(NamedTuple):
    """Some of the texts.

    Attributes:
        start: index of the first one among all.
        texts: what one call gets; one text that is not in a list stays as it is.
    """

    start: int
    texts: Any


def split(input: Iterable[str]) -> Iterator[TextBatch]:
    """The texts in parts; none without texts. What is no iterable of texts is a part by itself, and refused later.

    Raises:
        InvalidRequest: they are an async iterable.
    """
    if isinstance(input, AsyncIterable):
        refuse("input", input, "async iterables are not taken; collect the texts in a list before")
    if not isinstance(input, Iterable) or isinstance(input, str | bytes | bytearray | memoryview | Mapping):
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
    """The calls of several parts, which have one deadline.

    Args:
        submit: makes a call.
        options: those of each call; `timeout` is for all of them together.
    """

    def __init__(self, submit: Callable[[Embed], Call[Any]], options: EmbedOptions) -> None:
        self._submit = submit
        self._options = options
        self._timeout = number("timeout", options.get("timeout"))
        self._began = time.monotonic()

    def bulk(self, parts: Iterable[TextBatch]) -> Bulk:
        """All calls, to be run with `give`."""
        return Bulk(
            parts,
            submit=self._call,
            window=lambda: _WINDOW,
            ordered=True,
            patient=False,
            instead="`await aembed(..)`",
        )

    def _call(self, part: TextBatch) -> Call[Any]:
        options = self._options.copy()
        if self._timeout is not None:
            options["timeout"] = max(0.0, self._timeout - (time.monotonic() - self._began))
        return self._submit(Embed(part.texts, **options))

    def give(self, item: Item) -> Any:
        """The vectors of a part.

        Raises:
            PoolinferError: how its call failed, said of the whole.
        """
        outcome = item.outcome()
        if not isinstance(outcome, PoolinferError):
            return outcome
        if isinstance(outcome, DeadlineExceeded):
            raise DeadlineExceeded(
                f"the texts were not embedded within their timeout of {self._timeout} s",
                timeout=self._timeout or 0.0,
            )
        raise _counted_from(item.given.start, outcome)


def _counted_from(start: int, error: PoolinferError) -> PoolinferError:
    """The error of a part, with the index of a text among all of them."""
    found = re.match(r"input\[(\d+)\]", error.field) if isinstance(error, InvalidRequest) else None
    if found is not None and isinstance(error, InvalidRequest):
        name = f"input[{start + int(found[1])}]"
        error.field = error.field.replace(found[0], name, 1)
        error.args = (error.message.replace(found[0], name, 1),)
    return error
