"""Learning how a model spells its reasoning, by rendering a turn that reasons with the model's chat template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ...._data.errors import InvalidRequest
from ...text.reasoning_format import THINK, ReasoningFormat
from .known_reasoning_formats import KNOWN
from .reasoning_switches import learn_switches
from .rendering import Render

_SAID, _REASONED, _ANSWER = "zqsaid", "zqthought", "zqanswer"
_USER: Mapping[str, Any] = MappingProxyType({"role": "user", "content": _SAID})
_TURN: Mapping[str, Any] = MappingProxyType(
    {"role": "assistant", "content": _ANSWER, "reasoning_content": _REASONED}
)
#: What makes a template show the reasoning of a turn.
_SHOWN: tuple[Mapping[str, Any], ...] = ({}, {"enable_thinking": True, "thinking": True})
_MARK = r"(?:<[^<>\s][^<>]*>|\[/?[A-Z][A-Z_ ]*\])"
_LAST_MARK = re.compile(_MARK + r"\s*\Z")
_FIRST_MARK = re.compile(r"\s*(" + _MARK + ")")


def learn_reasoning(render: Render) -> ReasoningFormat:
    """How the model of a template spells its reasoning, and which switches the template has.

    Args:
        render: renders the template.
    """
    known = next((found for text, found in KNOWN.items() if text in render.source), None)
    found = known or _spelled(render) or _mentioned(render)
    reasons = found is not None and bool(found.opens)
    learned = found or THINK
    return replace(learned, reasons=reasons, switches=learn_switches(render, learned))


def _spelled(render: Render) -> ReasoningFormat | None:
    """The format that shows in the rendering of a turn that reasons."""
    for text in _renderings(render):
        before, reasoned, after = text.partition(_REASONED)
        between, answer, _ = after.partition(_ANSWER)
        opened = _LAST_MARK.search(before)
        closed = _FIRST_MARK.match(between)
        if reasoned and answer and opened and closed:
            return ReasoningFormat(
                opens=(opened.group().strip(),), closes=(closed.group(1),), closing=between
            )
    return None


def _mentioned(render: Render) -> ReasoningFormat | None:
    """The usual format, if the template at least knows its marks."""
    return THINK if THINK.closes[0] in render.source else None


def _renderings(render: Render) -> Iterator[str]:
    """A turn that reasons, rendered in all ways in which templates may show its reasoning; what follows `_SAID`."""
    for variables in _SHOWN:
        try:
            text = render([_USER, _TURN], variables=variables)
        except InvalidRequest:
            continue
        yield text[text.find(_SAID) + len(_SAID) :]
