"""Splitting an answer into the reasoning that it begins with and what follows it."""

from __future__ import annotations

from collections.abc import Callable

from .finder import Automaton, Finder
from .reasoning_format import THINK_CLOSE, THINK_OPEN
from .trimmer import Trimmer

_CLOSE = Automaton([THINK_CLOSE])


class ReasoningSplitter:
    """Splits a stream of text into the answer and the reasoning block that it may begin with.

    Only whitespace may stand before the block. Whitespace at the block's ends, and after it, is dropped.

    Args:
        reasoning_open: whether the prompt has opened the block already.
    """

    def __init__(self, *, reasoning_open: bool) -> None:
        self._blank: list[str] = []
        self._head = ""
        self._close = Finder(_CLOSE)
        self._reasoning = Trimmer(at_start=True)
        self._phase: Callable[[str], tuple[str, str]] = (
            self._in_reasoning if reasoning_open else self._before_reasoning
        )

    def feed(self, text: str) -> tuple[str, str]:
        """Take the next piece of the text; more of the answer, and more of the reasoning."""
        return self._phase(text) if text else ("", "")

    def finish(self) -> tuple[str, str]:
        """What was held back of the answer and of the reasoning, now that nothing follows."""
        reasoning = self._reasoning.feed(self._close.finish())
        answer = "".join(self._blank) + self._head
        self._blank, self._head = [], ""
        return answer, reasoning

    def _before_reasoning(self, text: str) -> tuple[str, str]:
        if not self._head:
            body = text.lstrip()
            self._blank.append(text[: len(text) - len(body)])
            text = body
        head = self._head = self._head + text
        if len(head) < len(THINK_OPEN) and THINK_OPEN.startswith(head):
            return "", ""
        blank, self._blank, self._head = "".join(self._blank), [], ""
        if head.startswith(THINK_OPEN):
            self._phase = self._in_reasoning
            return self._in_reasoning(head[len(THINK_OPEN) :])
        self._phase = self._in_answer
        return self._in_answer(blank + head)

    def _in_reasoning(self, text: str) -> tuple[str, str]:
        reasoning = self._reasoning.feed(self._close.feed(text))
        if not self._close.found:
            return "", reasoning
        self._phase = self._after_reasoning
        answer, _ = self._after_reasoning(self._close.rest)
        return answer, reasoning

    def _after_reasoning(self, text: str) -> tuple[str, str]:
        text = text.lstrip()
        if not text:
            return "", ""
        self._phase = self._in_answer
        return self._in_answer(text)

    def _in_answer(self, text: str) -> tuple[str, str]:
        return text, ""
