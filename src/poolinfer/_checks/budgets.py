"""What checking a request may cost, in items and bytes. They are counted before anything walks over them."""

from __future__ import annotations

import math

from .._data.errors import InvalidRequest
from .limits import LIMITS
from .refusals import refuse

#: Units that are checked at once. A unit takes about 2 µs: an item, or so many bytes or characters.
_UNITS_AT_ONCE = 500
_TEXT_BYTES_A_UNIT, _JSON_BYTES_A_UNIT, _CHARACTERS_A_UNIT = 512, 32, 2


class TooLargeAtOnce(Exception):
    """The request takes too long to be checked on its caller's thread."""


class WorkBudget:
    """Items that one request may have, and the work that checking it may take.

    Args:
        at_once: whether to stop, with `TooLargeAtOnce`, at what would take more than about a millisecond.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._items = int(LIMITS["items"].high)
        self._units: float = _UNITS_AT_ONCE if at_once else math.inf

    def spend_items(self, field: str, n: int) -> None:
        """Count messages, parts, tool calls or JSON values.

        Raises:
            InvalidRequest: these are more items than a request may have.
            TooLargeAtOnce: checking them would take too long.
        """
        self._spend(n)
        self._items -= n
        if self._items < 0:
            row = LIMITS["items"]
            raise InvalidRequest(f"{field} goes over {row.high:,} items: give fewer ({row.why})", field=field)

    def spend_text(self, n: int) -> None:
        """Count bytes of a text.

        Raises:
            TooLargeAtOnce: checking them would take too long.
        """
        self._spend(n // _TEXT_BYTES_A_UNIT)

    def spend_json(self, n: int) -> None:
        """Count bytes of a JSON text.

        Raises:
            TooLargeAtOnce: decoding them would take too long.
        """
        self._spend(n // _JSON_BYTES_A_UNIT)

    def spend_characters(self, n: int) -> None:
        """Count characters of an expression or grammar, which are looked at one by one.

        Raises:
            TooLargeAtOnce: looking at them would take too long.
        """
        self._spend(n // _CHARACTERS_A_UNIT)

    def _spend(self, units: int) -> None:
        self._units -= units
        if self._units < 0:
            raise TooLargeAtOnce


class ByteBudget:
    """Bytes that several texts of a request may use together.

    Args:
        limit: the row of `LIMITS` that bounds them.
        work: the budget of the whole request.
        depth: the row of `LIMITS` that bounds how deep they are nested.

    Attributes:
        work: the budget of the whole request.
        depth: most levels of JSON.
    """

    def __init__(self, limit: str, work: WorkBudget, depth: str = "depth") -> None:
        self._limit = LIMITS[limit]
        self._left = int(self._limit.high)
        self.work = work
        self.depth = int(LIMITS[depth].high)

    def spend(self, field: str, n: int) -> None:
        """Count `n` bytes of a field.

        Raises:
            InvalidRequest: fewer are left.
        """
        if n > self._left:
            raise InvalidRequest(
                f"{field} goes over {self._limit.high:,} bytes: make it shorter ({self._limit.why})",
                field=field,
            )
        self._left -= n

    def checked_text(self, field: str, value: object) -> str:
        """The value as a plain str.

        Raises:
            InvalidRequest: the value is no text, UTF-8 cannot encode it, or too few bytes are left.
            TooLargeAtOnce: checking it would take too long.
        """
        if not isinstance(value, str):
            refuse(field, value, "use a str")
        # Characters first: a text that is far too long is neither copied nor encoded.
        n = str.__len__(value)
        self.spend(field, n)
        if n >= _TEXT_BYTES_A_UNIT:
            self.work.spend_text(n)
        # A subclass could say anything of itself, and change how templates join texts (markupsafe's Markup does).
        text = str.__str__(value)
        if not text.isascii():
            self.spend(field, len(_encode(field, text)) - n)
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
