"""The ids of a response's tool calls: those that the model wrote, where they can be told apart, or new ones."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterable

#: Most characters of an id that a model writes and that is kept.
MAX_ID = 64
_ID_ALPHABET = string.ascii_letters + string.digits
_LENGTH, _SHORT_LENGTH = 24, 9
_SHORT = re.compile(rf"[A-Za-z0-9]{{{_SHORT_LENGTH}}}")


class CallIds:
    """Gives each tool call of one response its id.

    Args:
        nonce: what new ids are made of; another one for each generation.
        taken: the ids of earlier calls of the conversation.
        short: whether ids are nine letters and digits, since the chat template takes no others.
    """

    def __init__(self, nonce: bytes, taken: Iterable[str] = (), *, short: bool = False) -> None:
        self._nonce = nonce
        self._taken = set(taken)
        self._short = short
        self._count = 0

    def next(self, written: str = "") -> str:
        """The id of the next call: the one that the model wrote, if no other call has it, or else a new one."""
        found = written if self._is_fit(written) else self._new()
        while found in self._taken:
            found = self._new()
        self._taken.add(found)
        return found

    def _is_fit(self, written: str) -> bool:
        if self._short:
            return _SHORT.fullmatch(written) is not None
        return 0 < len(written) <= MAX_ID and written.isprintable()

    def _new(self) -> str:
        """An id in OpenAI's style, `call_` and 24 letters and digits; or a short one."""
        index, self._count = self._count, self._count + 1
        number = int.from_bytes(hashlib.sha256(b"%d:%b" % (index, self._nonce)).digest(), "big")
        base, length = len(_ID_ALPHABET), _SHORT_LENGTH if self._short else _LENGTH
        letters = "".join(_ID_ALPHABET[number // base**digit % base] for digit in range(length))
        return letters if self._short else f"call_{letters}"
