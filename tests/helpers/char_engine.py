"""An engine whose tokens are characters, but for the control tokens and markers that it knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st

from poolinfer._engine.engine_protocol import EngineInfo
from poolinfer._engine.prompt.chat_template import ChatTemplate
from poolinfer._engine.prompt.prompter import Prompter

CONTROL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|im_end|><|x|>", "<|<|", "[INST]", "[/INST]")
MARKERS = ("<think>", "</think>", "<tool_call>", "\n\n", "  ")
FIRST_CONTROL, FIRST_MARKER = 2_000_000, 3_000_000

QWEN = """\
{%- if tools %}{{- '<|im_start|>system\\n# Tools\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools><|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- set content = message.content or '' %}
{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' + content }}
{%- for tool_call in message.tool_calls or [] %}
{%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
{{- '\\n<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
{%- if tool_call.arguments is string %}{{- tool_call.arguments }}
{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
LLAMA = """\
{{- bos_token }}
{%- for message in messages %}
{{- '[INST]' + message['role'] + '[/INST]\\n\\n' + message['content'] | trim + '</s>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '[INST]assistant[/INST]\\n\\n' }}{%- endif %}
"""
GLUED = "{% for m in messages %}{{ m.content }}{% endfor %}"
HOSTILE = "{% for m in messages %}<{{ m.content }}>{% endfor %}<|im_{{ messages[0].content }}|><"


class CharEngine:
    """A token per character, but for special spellings, as llama.cpp treats them."""

    token_bytes = None
    pre_tokenizer = ""

    def __init__(
        self, template: str | None = QWEN, *, bos: bool = False, strips: bool = False, eager: bool = False
    ) -> None:
        """An `eager` engine makes control tokens of plain text, as some tokenizers of llama.cpp do (`<dna>`)."""
        self.info = EngineInfo(
            n_vocab=4_000_000,
            n_ctx_train=1024,
            chat_template=template,
            control=CONTROL,
            control_ids=frozenset(range(FIRST_CONTROL, FIRST_CONTROL + len(CONTROL))),
            markers=MARKERS,
            bos="<s>",
            eos="</s>",
        )
        self.bos, self.strips, self.eager = bos, strips, eager
        self.calls: list[tuple[str, bool]] = []

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        self.calls.append((text, parse_special))
        specials = (*CONTROL, *MARKERS) if parse_special or self.eager else MARKERS
        pattern = "|".join(map(re.escape, sorted(specials, key=len, reverse=True)))
        tokens = [FIRST_CONTROL] if add_special and self.bos else []
        for part in re.split(f"({pattern})", text):
            if part in specials:
                known = CONTROL.index(part) + FIRST_CONTROL if part in CONTROL else None
                tokens.append(MARKERS.index(part) + FIRST_MARKER if known is None else known)
            else:
                tokens += [ord(char) for char in (part.strip("\n") if self.strips else part)]
        return tokens

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(self.piece_of(token) for token in tokens)

    def piece_of(self, token: int) -> str:
        if token >= FIRST_MARKER:
            return MARKERS[token - FIRST_MARKER]
        return CONTROL[token - FIRST_CONTROL] if token >= FIRST_CONTROL else chr(token)


def control_ids(tokens: Sequence[int]) -> list[int]:
    return [token for token in tokens if FIRST_CONTROL <= token < FIRST_MARKER]


def user(*contents: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content} for content in contents]


def chat(
    engine: CharEngine, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()
) -> list[int]:
    return prompter(engine).chat(messages, tools).tokens


def prompter(engine: CharEngine, template: str | None = None) -> Prompter:
    """A prompter whose template is compiled once for all tests."""
    made = Prompter(engine, template)  # type: ignore[arg-type]
    if made._template is not None:
        made._template = compiled(made._template.source)
    return made


@lru_cache
def compiled(source: str) -> ChatTemplate:
    return ChatTemplate(source, "<s>", "</s>")


PIECES = [spelling[a:b] for spelling in CONTROL for a in range(3) for b in (a + 1, a + 3, len(spelling))]
EVIL = st.lists(
    st.sampled_from(
        [
            *CONTROL,
            *MARKERS,
            *PIECES,
            *(s[:-1] for s in CONTROL),
            "im_start",
            "im_",
            " ",
            "\n",
            "a",
            "\ue000",
            "\ue001",
        ]
    ),
    max_size=8,
).map("".join)
