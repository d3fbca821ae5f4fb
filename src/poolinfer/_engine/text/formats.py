"""How a model spells what is not plain answer: its tool calls and its reasoning."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from .reasoning_format import THINK, ReasoningFormat
from .tool_format import HERMES, ToolFormat

_FormatT = TypeVar("_FormatT", ToolFormat, ReasoningFormat)
#: No text that was decoded holds these characters: they are halves of surrogate pairs.
_FIRST_MARK, _LAST_MARK = 0xDC00, 0xDFFF
_MARKS = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_LAST_MARK)}]")


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats of one model, learned from its chat template; frozen plain data.

    Attributes:
        tools: how tool calls are spelled; None where none are looked for.
        reasoning: how reasoning is spelled; None where none is looked for.
    """

    tools: ToolFormat | None = HERMES
    reasoning: ReasoningFormat | None = THINK

    def texts(self) -> Iterator[str]:
        """All texts that the formats are made of."""
        for each in (self.tools, self.reasoning):
            if each is not None:
                for part in fields(each):
                    yield from _texts(getattr(each, part.name))


@dataclass(frozen=True, slots=True)
class MarkedFormats:
    """Formats in which one character stands for each control token, a character that no text has.

    So a control token is told from a text that only spells it, and none is left over in an answer.

    Attributes:
        formats: the formats, with such characters in place of the spellings.
        characters: these characters by the ids of the control tokens.
    """

    formats: Formats = field(default_factory=Formats)
    characters: Mapping[int, str] = field(default_factory=dict)


def marked(formats: Formats, tokens: Mapping[str, int]) -> MarkedFormats:
    """Formats with a character for each control token.

    Args:
        formats: the formats as templates spell them.
        tokens: the ids of the control tokens in them, by their spellings.
    """
    known = sorted(tokens, key=len, reverse=True)[: _LAST_MARK - _FIRST_MARK]
    if not known:
        return MarkedFormats(formats)
    characters = {spelling: chr(_FIRST_MARK + n) for n, spelling in enumerate(known)}
    pattern = re.compile("|".join(map(re.escape, known)))

    def respell(text: str) -> str:
        return pattern.sub(lambda match: characters[match.group()], text)

    tools, reasoning = formats.tools, formats.reasoning
    return MarkedFormats(
        Formats(tools and _changed(tools, respell), reasoning and _changed(reasoning, respell)),
        {tokens[spelling]: character for spelling, character in characters.items()},
    )


def without_marks(text: str) -> str:
    """A text without the characters of control tokens."""
    return _MARKS.sub("", text)


def _changed(one: _FormatT, respell: Callable[[str], str]) -> _FormatT:
    changes: dict[str, Any] = {
        part.name: _respelled(getattr(one, part.name), respell) for part in fields(one)
    }
    return replace(one, **changes)


def _respelled(value: object, respell: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return respell(value)
    return tuple(_respelled(each, respell) for each in value) if isinstance(value, tuple) else value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _texts(each)
