"""How models spell tool calls whose templates cannot tell; the first text that a template holds counts."""

from __future__ import annotations

from collections.abc import Mapping

from ...text.tool_format import HERMES, ToolFormat

#: The bar of DeepSeek's control tokens is a wide one.
_BAR = "\uff5c"
_HARMONY = ToolFormat(
    kind="named",
    opens=(
        " to=functions.",
        "<|channel|>commentary to=functions.",
        "<|channel|>analysis to=functions.",
    ),
    several=False,
    call_open=" to=functions.",
    call_close="<|call|>",
    name_closes=(
        "<|channel|>commentary json<|message|>",
        "<|channel|>commentary <|constrain|>json<|message|>",
        "<|channel|>commentary<|message|>",
        "<|channel|>analysis json<|message|>",
        "<|channel|>analysis <|constrain|>json<|message|>",
        "<|channel|>analysis<|message|>",
        " <|constrain|>json<|message|>",
        " json<|message|>",
        "<|message|>",
    ),
)
_GEMMA = ToolFormat(
    kind="named",
    opens=("<|tool_call>",),
    call_open="<|tool_call>call:",
    call_close="<tool_call|>",
    quote='<|"|>',
    bare_keys=True,
)
_FUNCTIONARY = ToolFormat(
    kind="named",
    opens=(">>>",),
    begun=">>>",
    call_open=">>>",
    name_closes=("\n",),
    answer_name="all",
)
_MUSE = ToolFormat(
    kind="tagged",
    opens=(" to=",),
    call_open=" to=",
    separator="<|eom|><|start|>assistant",
    name_closes=('<|message|><atem:function_calls>\n<atem:invoke name="',),
    name_end='">\n',
    key_open='<atem:parameter name="',
    key_close='">',
    value_close="</atem:parameter>\n",
    call_close="</atem:invoke>\n</atem:function_calls>",
)
_MINIMAX_M3 = ToolFormat(
    kind="tagged",
    opens=("]<]minimax[>[<tool_call>",),
    section_open="]<]minimax[>[<tool_call>\n",
    section_close="]<]minimax[>[</tool_call>",
    call_open=']<]minimax[>[<invoke name="',
    call_close="]<]minimax[>[</invoke>\n",
    name_closes=('">',),
    key_open="]<]minimax[>[<",
    key_close=">",
    value_close="]<]minimax[>[</",
    value_end=">",
    item="item",
)
_DEEPSEEK_R1 = ToolFormat(
    kind="named",
    opens=(f"<{_BAR}tool▁calls▁begin{_BAR}>", f"<{_BAR}tool▁call▁begin{_BAR}>"),
    section_open=f"<{_BAR}tool▁calls▁begin{_BAR}>",
    section_close=f"<{_BAR}tool▁calls▁end{_BAR}>",
    call_open=f"<{_BAR}tool▁call▁begin{_BAR}>function<{_BAR}tool▁sep{_BAR}>",
    call_close=f"\n```<{_BAR}tool▁call▁end{_BAR}>",
    separator="\n",
    name_closes=("\n```json\n",),
)
_LFM2 = ToolFormat(
    kind="pythonic",
    opens=("<|tool_call_start|>",),
    section_open="<|tool_call_start|>",
    section_close="<|tool_call_end|>",
    separator=", ",
    python_values=True,
)
_GRANITE_3 = ToolFormat(
    kind="array",
    opens=("<|tool_call|>",),
    section_open="<|tool_call|>",
    separator=", ",
)

#: Formats by a text that only the templates of such models hold.
KNOWN: Mapping[str, ToolFormat] = {
    "<|channel|>analysis<|message|>": _HARMONY,
    '<|"|>': _GEMMA,
    ">>>all\\n": _FUNCTIONARY,
    "<atem:function_calls>": _MUSE,
    "]<]minimax[>[": _MINIMAX_M3,
}
#: The same for templates that render no call.
KNOWN_WITHOUT_CALLS: Mapping[str, ToolFormat] = {
    f"<{_BAR}tool▁call▁begin{_BAR}>": _DEEPSEEK_R1,
    "List of tools: ": _LFM2,
    "<|start_of_role|>": _GRANITE_3,
    "<tool_call>": HERMES,
}
