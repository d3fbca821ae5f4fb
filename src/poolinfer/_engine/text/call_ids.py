"""The ids of a response's tool calls: those that the model wrote, where they can be told apart, or new ones."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable

#: Most characters of an id that a model writes and that is kept.
MAX_ID = 64
_ID_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 24


class CallIds:
    """Gives each tool call of one response its id.

    Args:
        nonce: what new ids are made of; another one for each generation.
        taken: the ids of earlier calls of the conversation.
    """

    def __init__(self, nonce: bytes, taken: Iterable[str] = ()) -> None:
        self._nonce = nonce
        self._taken = set(taken)
        self._count = 0

    def next(self, written: str = "") -> str:
        """The id of the next call: the one that the model wrote, if no other call has it, or else a new one."""
        index, self._count = self._count, self._count + 1
        if not 0 < len(written) <= MAX_ID or not written.isprintable() or written in self._taken:
            written = _new_id(self._nonce, index)
        self._taken.add(written)
        return written


def _new_id(nonce: bytes, index: int) -> str:
    """An id in OpenAI's style: `call_`, and 24 letters and digits."""
    number = int.from_bytes(hashlib.sha256(b"%d:%b" % (index, nonce)).digest(), "big")
    base = len(_ID_ALPHABET)
    return "call_" + "".join(_ID_ALPHABET[number // base**digit % base] for digit in range(_ID_LENGTH))
