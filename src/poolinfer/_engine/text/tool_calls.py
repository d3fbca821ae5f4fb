"""Finding the tool calls in an answer, and taking them out of it."""

from __future__ import annotations

import hashlib
import json
import string

from ..._data.results import ToolCall
from .finder import Automaton, Finder
from .trimmer import Trimmer

#: How tool calls are spelled: Hermes' format is the one that is known, until formats are learned from templates.
TOOL_CALL_OPEN, TOOL_CALL_CLOSE = "<tool_call>", "</tool_call>"
_OPEN, _CLOSE = Automaton([TOOL_CALL_OPEN]), Automaton([TOOL_CALL_CLOSE])
_ID_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 24


class ToolCallFilter:
    """Takes well-formed tool call blocks, and the whitespace around them, out of an answer.

    A block that is not well-formed stays in the answer, as it is.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[str, str]] = []
        self._answer = Trimmer(at_start=False)
        self._block: list[str] | None = None
        self._finder = Finder(_OPEN)

    def calls(self, nonce: bytes) -> tuple[ToolCall, ...]:
        """The tool calls found so far.

        Args:
            nonce: what their ids are made of; another one for each generation.
        """
        return tuple(ToolCall(_call_id(nonce, index), *call) for index, call in enumerate(self._calls))

    def feed(self, text: str) -> str:
        """What of the text belongs to the answer."""
        shown = []
        while True:
            found = self._finder.feed(text)
            if self._block is None:
                shown.append(self._answer.feed(found))
            else:
                self._block.append(found)
            if not self._finder.found:
                return "".join(shown)
            text = self._finder.rest
            shown.append(self._open() if self._block is None else self._close(self._block))

    def finish(self) -> str:
        """What was held back of the answer; a block that never closed is part of it."""
        rest = self._finder.finish()
        if self._block is not None:
            rest = TOOL_CALL_OPEN + "".join(self._block) + rest
            self._block = None
        return self._answer.feed(rest) + self._answer.flush()

    def _open(self) -> str:
        """Begin a block."""
        self._block, self._finder = [], Finder(_CLOSE)
        return ""

    def _close(self, block: list[str]) -> str:
        """End a block: a call, or else more of the answer."""
        body, self._block, self._finder = "".join(block), None, Finder(_OPEN)
        call = parse_tool_call(body)
        if call is None:
            return self._answer.feed(TOOL_CALL_OPEN + body + TOOL_CALL_CLOSE)
        self._calls.append(call)
        self._answer.flush()
        self._answer.at_start = True
        return ""


def parse_tool_call(body: str) -> tuple[str, str] | None:
    """Name and arguments (JSON text) of a tool call block, or None when it is not well-formed."""
    try:
        data = json.loads(body)
        if not isinstance(data, dict):
            return None
        name, arguments = data.get("name"), data.get("arguments")
        if isinstance(arguments, dict | None):
            arguments = json.dumps(arguments or {}, ensure_ascii=False, allow_nan=False)
        if not (name and isinstance(name, str) and isinstance(arguments, str)):
            return None
        # Escapes may spell lone surrogates, which no text that leaves here may hold.
        (name + arguments).encode()
    except (ValueError, RecursionError):
        return None
    return name, arguments


def _call_id(nonce: bytes, index: int) -> str:
    """An id in OpenAI's style: `call_`, and 24 letters and digits."""
    number = int.from_bytes(hashlib.sha256(b"%d:%b" % (index, nonce)).digest(), "big")
    base = len(_ID_ALPHABET)
    return "call_" + "".join(_ID_ALPHABET[number // base**digit % base] for digit in range(_ID_LENGTH))
