"""Where an answer is cut that a model is to continue: right after the last turn's content, as transformers does.

The content gets a mark at its end before it is rendered. The mark's characters have an author of their own, so no
text of a caller can be taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from ..._data.errors import InvalidRequest
from .sandbox.authored_text import MARK, cut, join, origin, written

# The words of transformers; they end in a space, by which one sees whether a template strips its texts.
_MARK = "CONTINUE_FINAL_MESSAGE_TAG "


class ContinuedAnswer:
    """The last of some messages, whose content gets the mark.

    Args:
        messages: the messages of a rendering; the last one is changed in place.

    Raises:
        InvalidRequest: the last turn is no answer, or has no text.
    """

    def __init__(self, messages: Sequence[dict[str, Any]]) -> None:
        last = messages[-1] if messages else {}
        content = last.get("content")
        holder: dict[str, Any] | None = last if isinstance(content, str) else None
        key = "content"
        if isinstance(content, list):
            holder, key = next((part for part in reversed(content) if "text" in part), None), "text"
        if last.get("role") != "assistant" or holder is None:
            _refuse("the last message is no assistant message with a text: end with the one to continue")
        self._text: str = holder[key]
        holder[key] = join((self._text, written(_MARK, MARK)))

    def cut(self, rendered: str) -> str:
        """The rendered text up to the end of the content.

        Raises:
            InvalidRequest: the template has not kept the content as it is.
        """
        by = origin(rendered)
        end = by.rfind(MARK) + 1
        shown = by[:end]
        start = len(shown.rstrip(bytes((MARK,))))
        mark = str.__getitem__(rendered, slice(start, end))
        if mark not in (_MARK, _MARK.rstrip()) or MARK in by[:start] or self._text.strip() not in rendered:
            _refuse(
                "the chat template does not show the last message as it is, so that its end is not known:"
                " shorten that message, or ask without continue_final_message"
            )
        found = cut(rendered, 0, start)
        return found if mark == _MARK else cut(found, 0, len(found.rstrip()))


def _refuse(why: str) -> NoReturn:
    raise InvalidRequest(f"continue_final_message: {why}", field="continue_final_message")
