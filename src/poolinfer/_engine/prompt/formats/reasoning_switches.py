"""Learning which variables of a chat template turn reasoning on and off, or say how much of it there is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ...._data.errors import InvalidRequest
from ...text.reasoning_format import ReasoningFormat, ReasoningSwitch, Setting
from .rendering import Render

_Value: TypeAlias = bool | int | str
_CONVERSATION: Sequence[Mapping[str, Any]] = ({"role": "user", "content": "zqsaid"},)

#: Variables that turn reasoning on and off, with their values for on and for off. The first that has an effect
#: counts. A text counts only where the template itself holds it in quotes.
_ON_OFF: tuple[tuple[str, _Value, _Value], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("thinking_mode", "enabled", "disabled"),
    ("thinking_mode", "thinking", "chat"),
    ("thinking_option", "on", "off"),
    ("thinking_budget", -1, 0),
    ("reasoning", True, False),
    ("reasoning_effort", "high", "none"),
    ("reasoning_effort", "high", "no_think"),
    ("reasoning_effort", "high", "minimal"),
)
#: Variables that say how much reasoning there is.
_EFFORTS = ("reasoning_effort", "thinking_effort", "reasoning_strength")
_LEVELS: tuple[Setting, ...] = ("low", "medium", "high")


def learn_switches(render: Render, learned: ReasoningFormat) -> tuple[ReasoningSwitch, ...]:
    """The settings of reasoning that a template knows.

    Args:
        render: renders the template.
        learned: how the model spells its reasoning.
    """
    found: list[ReasoningSwitch] = []
    on: dict[str, _Value] = {}
    for name, yes, no in _ON_OFF:
        if _reads(render.source, name, yes, no) and _differs(render, {name: yes}, {name: no}, learned):
            on = {name: yes}
            found += [_switch("on", on), _switch("off", {name: no})]
            break
    for name in _EFFORTS:
        if _reads(render.source, name):
            found += _levels(render, name, on)
            break
    return tuple(found)


def _levels(render: Render, name: str, on: Mapping[str, _Value]) -> list[ReasoningSwitch]:
    """The levels of effort that the template takes and tells apart."""
    switches = [_switch(level, {**on, name: level}) for level in _LEVELS]
    texts = [_rendered(render, dict(switch.variables)) for switch in switches]
    known = [switch for switch, text in zip(switches, texts, strict=True) if text is not None]
    told_apart = len({text for text in texts if text is not None}) >= min(2, len(known))
    return known if told_apart else []


def _switch(setting: Setting, variables: Mapping[str, _Value]) -> ReasoningSwitch:
    return ReasoningSwitch(setting, tuple(variables.items()))


def _reads(source: str, name: str, *values: _Value) -> bool:
    """Whether a template reads a variable, and tells these texts apart from others."""
    texts = [value for value in values if isinstance(value, str) and value != "high"]
    return bool(re.search(rf"(?<![\w.'\"]){name}(?![\w'\"])", source)) and all(
        f"'{text}'" in source or f'"{text}"' in source for text in texts
    )


def _differs(
    render: Render, yes: Mapping[str, _Value], no: Mapping[str, _Value], learned: ReasoningFormat
) -> bool:
    """Whether two settings make different prompts, and the second one opens no block of reasoning."""
    on, off = _rendered(render, yes), _rendered(render, no)
    if on is None or off is None or on == off:
        return False
    return not any(off.rstrip().endswith(mark.rstrip()) for mark in learned.opens)


def _rendered(render: Render, variables: Mapping[str, _Value]) -> str | None:
    try:
        return render(_CONVERSATION, variables=variables, add_generation_prompt=True)
    except InvalidRequest:
        return None
