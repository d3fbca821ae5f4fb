"""What checking a request may cost: bytes and items, counted before anything walks over them."""

from __future__ import annotations

import math

from .._data.errors import InvalidRequest
from .limits import LIMITS, refuse

#: What is checked at once, in units of about 2 µs: an item, 512 bytes of text, or 32 bytes of JSON text.
_AT_ONCE = 500
_TEXT, _JSON = 512, 32


class Later(Exception):
    """A request is too large to be checked at once."""


class Work:
    """Counts what checking one request costs, over all its parts.

    Args:
        at_once: whether to stop, with `Later`, after what takes about a millisecond.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._items = int(LIMITS["items"].high)
        self._units: float = _AT_ONCE if at_once else math.inf

    def items(self, field: str, n: int) -> None:
        """Count messages, parts, tool calls or JSON values.

        Raises:
            InvalidRequest: that is more than a request may have.
            Later: it is more than is checked at once.
        """
        self._spend(n)
        self._items -= n
        if self._items < 0:
            row = LIMITS["items"]
            raise InvalidRequest(f"{field} goes over {row.high:,} items: give fewer ({row.why})", field=field)

    def text(self, n: int) -> None:
        """Count bytes of a text; raises Later, as `items` does."""
        self._spend(n // _TEXT)

    def json(self, n: int) -> None:
        """Count bytes of a JSON text; raises Later, as `items` does."""
        self._spend(n // _JSON)

    def _spend(self, units: int) -> None:
        self._units -= units
        if self._units < 0:
            raise Later


class Budget:
    """Bytes that several texts of a request may use together.

    Attributes:
        work: what is counted over the whole request.
    """

    def __init__(self, limit: str, work: Work) -> None:
        self._limit = LIMITS[limit]
        self._left = int(self._limit.high)
        self.work = work

    def take(self, field: str, n: int) -> None:
        """Use some; `InvalidRequest` when that is more than what is left."""
        if n > self._left:
            raise InvalidRequest(
                f"{field} goes over {self._limit.high:,} bytes: make it shorter ({self._limit.why})",
                field=field,
            )
        self._left -= n

    def text(self, field: str, value: object) -> str:
        """The value as a plain str, if it is a text that UTF-8 can hold and there is room for it."""
        if not isinstance(value, str):
            refuse(field, value, "use a str")
        # Characters first: a text that is far too long is neither copied nor encoded.
        n = str.__len__(value)
        self.take(field, n)
        if n >= _TEXT:
            self.work.text(n)
        # A subclass could say anything of itself, and change how templates join texts (markupsafe's Markup does).
        text = str.__str__(value)
        if not text.isascii():
            self.take(field, len(_encode(field, text)) - n)
        return text


def _encode(field: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"{field} has a lone surrogate at character {error.start}, which UTF-8 cannot hold:"
            " decode its bytes with errors='replace' where the text is read",
            field=field,
        ) from None
