"""From what a call asks of reasoning to the variables of a chat template."""

from __future__ import annotations

from ...._data.errors import InvalidRequest
from ...._data.requests import Reasoning
from ...text.reasoning_format import ReasoningFormat, Setting


def switch_variables(wanted: Reasoning | None, format: ReasoningFormat) -> dict[str, bool | int | str]:
    """The variables that a chat template must be given.

    Args:
        wanted: `Chat.reasoning`.
        format: how the model reasons, and which switches its template has.

    Raises:
        InvalidRequest: the model has no such switch.
    """
    if wanted is None:
        return {}
    setting: Setting = "on" if wanted is True else "off" if wanted is False else wanted
    found = format.variables(setting)
    if found is not None:
        return found
    # What a model always does, or never, needs no switch.
    if isinstance(wanted, bool) and wanted == format.reasons:
        return {}
    raise InvalidRequest(f"reasoning={wanted!r}: {_remedy(wanted, format)}", field="reasoning")


def _remedy(wanted: Reasoning, format: ReasoningFormat) -> str:
    if not format.reasons:
        return "the chat template of this model knows no reasoning; leave it out"
    if wanted is False:
        return "this model's chat template cannot switch it off; use reasoning_budget=0, or leave it out"
    levels = [repr(each.setting) for each in format.switches if each.setting not in ("on", "off")]
    values = ["True", *(["False"] if format.variables("off") else []), *levels]
    return f"the chat template of this model knows no such setting; use {', '.join(values)}, or leave it out"
