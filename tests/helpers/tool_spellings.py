"""A spelling of tool calls of each kind, and calls to spell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolinfer._engine.text.tool_format import HERMES, ToolFormat
from poolinfer._engine.text.tool_writer import Call

_BRACKETS: Mapping[str, Any] = {"section_open": "<calls>", "section_close": "</calls>", "separator": ", "}
SPELLINGS: Mapping[str, ToolFormat] = {
    "object": HERMES,
    "bare object": ToolFormat(
        kind="object", opens=("{",), at_start=True, several=False, arguments_key="parameters"
    ),
    "objects in a section": ToolFormat(
        kind="object", opens=("<calls>",), section_open="<calls>\n", section_close="</calls>", call_close="\n"
    ),
    "array": ToolFormat(kind="array", opens=("<calls>",), **_BRACKETS),
    "array with ids": ToolFormat(
        kind="array",
        opens=("<calls>",),
        **_BRACKETS,
        id_place="key",
        id_key="id",
        id_last=True,
        short_ids=True,
    ),
    "array with ids first": ToolFormat(
        kind="array", opens=("<calls>",), **_BRACKETS, id_place="key", id_key="number", name_key="tool"
    ),
    "name as key": ToolFormat(kind="array", opens=("<calls>",), **_BRACKETS, name_key="", arguments_key=""),
    "named": ToolFormat(kind="named", opens=("[CALL]",), call_open="[CALL]", name_closes=("[ARGS]",)),
    "named with id before": ToolFormat(
        kind="named",
        opens=("<calls>", "<call>"),
        section_open="<calls>",
        section_close="</calls>",
        call_open="<call>",
        call_close="</call>",
        id_place="before",
        id_mark="<name>",
        name_closes=("<args>\n```json\n",),
    ),
    "named with id after": ToolFormat(
        kind="named",
        opens=("[CALL]",),
        call_open="[CALL]",
        name_closes=("[ARGS]",),
        id_place="after",
        id_mark="[ID]",
    ),
    "named with id within": ToolFormat(
        kind="named",
        opens=("<calls>",),
        section_open="<calls>",
        section_close="</calls>",
        call_open="<call>",
        call_close="</call>",
        id_place="within",
        id_prefix="functions.",
        id_mark=":",
        name_closes=("<args>",),
    ),
    "named to a recipient": ToolFormat(
        kind="named",
        opens=(">>>",),
        begun=">>>",
        call_open=">>>",
        name_closes=("\n",),
        answer_name="all",
    ),
    "marked strings": ToolFormat(
        kind="named",
        opens=("<call>",),
        call_open="<call>call:",
        call_close="</call>",
        quote='<|"|>',
        bare_keys=True,
    ),
    "tagged": ToolFormat(
        kind="tagged",
        opens=("<call>", "<fn="),
        call_open="<call>\n<fn=",
        call_close="</fn>\n</call>",
        separator="\n",
        name_closes=(">\n",),
        key_open="<arg=",
        key_close=">\n",
        value_close="\n</arg>\n",
        python_values=True,
    ),
    "tagged by pairs": ToolFormat(
        kind="tagged",
        opens=("<call>",),
        call_open="<call>",
        call_close="</call>",
        key_open="<key>",
        key_close="</key>\n<value>",
        value_close="</value>\n",
    ),
    "tagged by types": ToolFormat(
        kind="tagged",
        opens=("<calls>",),
        section_open="<calls>\n",
        section_close="</calls>",
        call_open='<invoke name="',
        call_close="</invoke>\n",
        name_closes=('">\n',),
        key_open='<arg name="',
        key_close='" string="yes">',
        key_closes=tuple(
            (kind, '" string="no">') for kind in ("number", "boolean", "null", "array", "object")
        ),
        value_close="</arg>\n",
        no_arguments='">\n\n',
    ),
    "tagged by keys": ToolFormat(
        kind="tagged",
        opens=("~[<calls>",),
        section_open="~[<calls>\n",
        section_close="~[</calls>",
        call_open='~[<invoke name="',
        call_close="~[</invoke>\n",
        name_closes=('">',),
        key_open="~[<",
        key_close=">",
        value_close="~[</",
        value_end=">",
        item="item",
    ),
    "tagged with numbers": ToolFormat(
        kind="tagged",
        opens=("<calls>",),
        section_open="<calls>",
        section_close="</calls>",
        call_open='<call name="',
        call_close="</call>",
        name_closes=('">',),
        id_place="after",
        id_mark='" index="',
        first_number=1,
        key_open='<arg name="',
        key_close='">',
        value_close="</arg>",
    ),
    "tagged to a recipient": ToolFormat(
        kind="tagged",
        opens=(" to=",),
        call_open=" to=",
        call_close="</invoke>",
        separator="<end><start>",
        name_closes=('<message><invoke name="',),
        name_end='">\n',
        key_open='<arg name="',
        key_close='">',
        value_close="</arg>\n",
    ),
    "pythonic": ToolFormat(
        kind="pythonic",
        opens=("<calls>",),
        section_open="<calls>",
        section_close="</calls>",
        separator=", ",
        quote="'",
        python_values=True,
    ),
}


def _tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


_PLACE = {"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}}
TOOLS = (
    _tool(
        "get_weather",
        city={"type": "string"},
        days={"type": "integer"},
        fine={"type": "boolean"},
        place=_PLACE,
        tags={"type": "array", "items": {"type": "string"}},
    ),
    _tool("no-arguments.2"),
)
_IDS = ("abcdefgh1", "abcdefgh2", "abcdefgh3")


def _calls(*calls: tuple[str, Mapping[str, Any]]) -> tuple[Call, ...]:
    return tuple((name, arguments, number) for (name, arguments), number in zip(calls, _IDS, strict=False))


CALLS: Mapping[str, tuple[Call, ...]] = {
    "plain": _calls(("get_weather", {"city": "Paris", "days": 3})),
    "quotes": _calls(("get_weather", {"city": 'a "b" it\'s <b> & \\ {x}'})),
    "lines": _calls(("get_weather", {"city": "  two\n lines\n\n"})),
    "unicode": _calls(("get_weather", {"city": "Zürich 東京 😀"})),
    "nested": _calls(("get_weather", {"fine": True, "place": {"names": ["p", "q"]}, "tags": ["r"]})),
    "none": _calls(("no-arguments.2", {})),
    "several": _calls(
        ("get_weather", {"city": "A"}), ("no-arguments.2", {}), ("get_weather", {"city": "B", "days": 1})
    ),
}
