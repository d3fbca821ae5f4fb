"""How a model spells its reasoning, and how its chat template turns it on and off; frozen plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: What `Chat.reasoning` may ask for, as a chat template's switch knows it.
Setting: TypeAlias = Literal["on", "off", "low", "medium", "high"]
#: How reasoning is spelled where a template does not say.
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class ReasoningSwitch:
    """What a chat template must be given for one setting of a model's reasoning.

    Attributes:
        setting: the setting.
        variables: the template's variables, as pairs of name and value.
    """

    setting: Setting
    variables: tuple[tuple[str, bool | int | str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningFormat:
    """How a model spells its reasoning.

    Attributes:
        opens: the marks with which a block of reasoning begins.
        closes: the marks that end a block.
        closing: what stands from the end of the reasoning to the beginning of the answer. It is written for the
            model when its budget is spent.
        anywhere: whether a block may begin anywhere; if not, it begins where the answer begins, or right after
            another block or a tool call.
        skipped: marks around the parts of an answer, which belong to neither answer nor reasoning.
        leads: such marks that count only where a part begins.
        switches: the settings that the template knows.
        reasons: whether the template shows that the model reasons.
    """

    opens: tuple[str, ...] = (THINK_OPEN,)
    closes: tuple[str, ...] = (THINK_CLOSE,)
    closing: str = f"\n{THINK_CLOSE}\n\n"
    anywhere: bool = False
    skipped: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    switches: tuple[ReasoningSwitch, ...] = ()
    reasons: bool = False

    def variables(self, setting: Setting) -> dict[str, bool | int | str] | None:
        """The template's variables for a setting; None where the template does not know it."""
        for switch in self.switches:
            if switch.setting == setting:
                return dict(switch.variables)
        return None


#: What is looked for where a template says nothing of reasoning.
THINK = ReasoningFormat()
