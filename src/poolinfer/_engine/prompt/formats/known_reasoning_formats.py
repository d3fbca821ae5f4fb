"""How models reason whose templates cannot tell: the format of the first text that a template holds counts."""

from __future__ import annotations

from collections.abc import Mapping

from ...text.reasoning_format import ReasoningFormat

_HARMONY_CHANNELS = ("final", "commentary")
_HARMONY = ReasoningFormat(
    opens=("<|channel|>analysis<|message|>",),
    closes=("<|end|>",),
    closing="<|end|><|start|>assistant<|channel|>final<|message|>",
    anywhere=True,
    skipped=(
        "<|start|>assistant",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|channel|>commentary to=assistant",
        *(f"<|channel|>{channel}<|message|>" for channel in _HARMONY_CHANNELS),
        *(f"<|channel|>{channel} <|constrain|>json<|message|>" for channel in _HARMONY_CHANNELS),
    ),
)
_SOLAR = ReasoningFormat(
    opens=("<|think|>",),
    closes=("<|end|>",),
    closing="<|end|><|begin|>assistant<|content|>",
    anywhere=True,
    skipped=("<|begin|>assistant", "<|content|>", "<|end|>"),
)
_MUSE = ReasoningFormat(
    opens=("to=self<|message|>",),
    closes=("<|eom|>",),
    closing="<|eom|><|start|>assistant to=user<|message|>",
    skipped=("<|start|>assistant", "<|eom|>", "<|eot|>"),
    leads=("to=user<|message|>",),
)
_KIMI_K3 = ReasoningFormat(
    opens=("<|open|>think<|sep|>",),
    closes=("<|close|>think<|sep|>", "<|open|>response<|sep|>"),
    closing="<|close|>think<|sep|><|open|>response<|sep|>",
    anywhere=True,
    skipped=(
        "<|open|>response<|sep|>",
        "<|close|>response<|sep|>",
        "<|close|>message<|sep|>",
        "<|end_of_msg|>",
    ),
)
_GEMMA = ReasoningFormat(
    opens=("<|channel>thought", "<|channel>thought\n"),
    closes=("<channel|>",),
    closing="\n<channel|>",
    anywhere=True,
    skipped=("<|channel>", "<channel|>"),
)
_COHERE = ReasoningFormat(
    opens=("<|START_THINKING|>",),
    closes=("<|END_THINKING|>",),
    closing="<|END_THINKING|><|START_RESPONSE|>",
    skipped=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)
_COHERE_TEXT = ReasoningFormat(
    opens=("<|START_THINKING|>",),
    closes=("<|END_THINKING|>",),
    closing="<|END_THINKING|><|START_TEXT|>",
    skipped=("<|START_TEXT|>", "<|END_TEXT|>"),
)
_MISTRAL = ReasoningFormat(opens=("[THINK]",), closes=("[/THINK]",), closing="[/THINK]")
_APRIEL = ReasoningFormat(
    opens=("Here are my reasoning steps:",),
    closes=("[BEGIN FINAL RESPONSE]",),
    closing="\n[BEGIN FINAL RESPONSE]\n",
    skipped=("[END FINAL RESPONSE]",),
)

_FUNCTIONARY = ReasoningFormat(opens=(), closes=(), closing="", leads=("all\n",))
_APERTUS = ReasoningFormat(
    opens=("<|inner_prefix|>",), closes=("<|inner_suffix|>",), closing="<|inner_suffix|>", anywhere=True
)

#: Formats by a text that only the templates of such models hold.
KNOWN: Mapping[str, ReasoningFormat] = {
    "<|channel|>analysis<|message|>": _HARMONY,
    "<|begin|>assistant<|think|>": _SOLAR,
    "to=self<|message|>": _MUSE,
    "<|open|>": _KIMI_K3,
    "<|channel>thought": _GEMMA,
    "<|START_TEXT|>": _COHERE_TEXT,
    "<|START_RESPONSE|>": _COHERE,
    "[THINK]": _MISTRAL,
    "[BEGIN FINAL RESPONSE]": _APRIEL,
    "<|inner_prefix|>": _APERTUS,
    ">>>all": _FUNCTIONARY,
}
