"""How a chat becomes text: the ChatML template and the same rendering in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from tasks import JUDGE_USER

Message = dict[str, Any]
Tool = dict[str, Any]

GET_WEATHER: Tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
TOOLS_HEAD = "# Tools\n\nYou may call these functions:\n<tools>"
TOOLS_TAIL = (
    '\n</tools>\n\nTo call one, reply:\n<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>'
)
TAGGED_TAIL = (
    "\n</tools>\n\nTo call one, reply:\n<calls>\n<function=NAME>\n<parameter=KEY>VALUE</parameter>\n"
    "</function>\n</calls>"
)
CHAT_TEMPLATE = """\
{%- set has_system = messages and messages[0].role == 'system' %}
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if has_system %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- '# Tools\\n\\nYou may call these functions:\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools>\\n\\nTo call one, reply:\\n<tool_call>\\n' }}
{{- '{"name": <name>, "arguments": <arguments>}\\n</tool_call><|im_end|>\\n' }}
{%- elif has_system %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content }}
{{- '\\n</tool_response><|im_end|>\\n' }}
{%- elif not (loop.first and has_system) %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- for call in message.tool_calls or [] %}
{%- if message.content or not loop.first %}{{- '\\n' }}{%- endif %}
{%- set function = call.function if call.function else call %}
{{- '<tool_call>\\n{"name": "' + function.name + '", "arguments": ' }}
{%- if function.arguments is string %}{{- function.arguments }}
{%- else %}{{- function.arguments | tojson }}{%- endif %}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
#: The same chats with calls whose arguments stand between marks.
TAGGED_TEMPLATE = (Path(__file__).resolve().parent / "tagged.jinja").read_text(encoding="utf-8")
#: The prompt of a judge, as poolinfer fills it in.
RERANK_TEMPLATE = f"<|im_start|>user\n{JUDGE_USER}<|im_end|>\n<|im_start|>assistant\n"


def render_template(messages: list[Message], tools: list[Tool] | None = None, tagged: bool = False) -> str:
    """Render a chat with the Jinja template, ready for the assistant's answer."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = env.from_string(TAGGED_TEMPLATE if tagged else CHAT_TEMPLATE)
    return template.render(messages=messages, tools=tools, add_generation_prompt=True)


def system_text(text: str | None, tools: list[Tool] | None, tagged: bool = False) -> str | None:
    """Return the content of the system turn, or None when there is no such turn."""
    if not tools:
        return text
    listed = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in tools)
    head = f"{text}\n\n{TOOLS_HEAD}" if text is not None else TOOLS_HEAD
    return head + listed + (TAGGED_TAIL if tagged else TOOLS_TAIL)


def tool_call_text(name: str, arguments: dict[str, Any], tagged: bool = False) -> str:
    """Return the assistant's text that calls a tool with texts."""
    if tagged:
        marked = "".join(f"<parameter={key}>{value}</parameter>\n" for key, value in arguments.items())
        return f"<calls>\n<function={name}>\n{marked}</function>\n</calls>"
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def render_message(message: Message) -> tuple[str, str]:
    """Return the role and the text that a message has in the rendered chat."""
    role, content = message["role"], message.get("content") or ""
    if role == "tool":
        return "user", f"<tool_response>\n{content}\n</tool_response>"
    return role, content


def render(messages: list[Message], tools: list[Tool] | None = None, tagged: bool = False) -> str:
    """Render a chat without the template engine (training uses this, it is faster)."""
    rest = list(messages)
    first = rest.pop(0)["content"] if rest and rest[0]["role"] == "system" else None
    system = system_text(first, tools, tagged)
    turns = [] if system is None else [("system", system)]
    turns += [render_message(message) for message in rest]
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return text + "<|im_start|>assistant\n"
