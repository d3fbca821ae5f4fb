"""What the tests of prompts share: templates, a reference to render with, and vocabularies of templates."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from poolinfer._engine.engine_protocol import EngineInfo
from poolinfer._engine.prompt.chat_template import ChatTemplate

SOURCE = os.environ.get("POOLINFER_LLAMA_CPP", "")
TEMPLATES = sorted(Path(SOURCE, "models", "templates").glob("*.jinja")) if SOURCE else []

CHATML = """\
{%- if tools %}{{- '<|im_start|>system\\n# Tools\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools><|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role }}{% if message.name %}{{ ' name=' + message.name }}{% endif %}{{ '\\n' }}
{%- if message.reasoning_content %}{{- '<think>' + message.reasoning_content + '</think>' }}{% endif %}
{{- message.content }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>{"name": "' ~ call.function.name ~ '", "arguments": ' ~ call.function.arguments|tojson ~ '}' }}
{%- endfor %}{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
_TURN = "{{ '<|im_start|>' + message.role + '\\n' }}{{ BODY }}{{ '<|im_end|>\\n' }}"
_TURNS = "{% for message in messages %}" + _TURN + "{% endfor %}<|im_start|>assistant\n"

#: Templates that change what they are given in every way that has forged a control token once.
OWN: dict[str, str] = {
    "chatml": CHATML,
    "lower": _TURNS.replace("BODY", "message.content | lower"),
    "upper": _TURNS.replace("BODY", "message.content.upper() ~ message.name"),
    "replace": _TURNS.replace("BODY", "message.content.replace('<image>', '') | replace('x', '')"),
    "split": _TURNS.replace("BODY", "message.content.split('<image>') | join"),
    "words": _TURNS.replace("BODY", "message.content.split() | join('')"),
    "lines": _TURNS.replace("BODY", "message.content.splitlines() | join('') | trim | indent(2)"),
    "slices": _TURNS.replace(
        "BODY", "message.content[::2] ~ message.content[1::2] ~ message.content | reverse"
    ),
    "repr": _TURNS.replace("BODY", "message") + "{{ tools }}",
    "json": _TURNS.replace("BODY", "message | tojson(ensure_ascii=true) ~ message | tojson(indent=1)")
    + "{{ tools | tojson }}",
    "format": _TURNS.replace("BODY", "'<|im_%s|>' % message.content ~ '<|{}|>'.format(message.content)"),
    "glued": "{% for m in messages %}<{{ m.content }}>{% endfor %}<|im_{{ messages[0].content }}|><",
    "macro": "{% macro f(x) %}<|im_{{ x }}|>{{ caller() if caller else '' }}{% endmacro %}"
    "{% for m in messages %}{% set y %}{{ f(m.content) }}{% endset %}{{ y }}"
    "{% call f(m.content) %}end{{ m.content }}{% endcall %}{% filter trim %}{{ m.content }}{% endfilter %}"
    "{% endfor %}<|im_end|>",
    "keys": "{% for m in messages %}{% for c in m.tool_calls or [] %}{% for k, v in c.function.arguments.items() %}"
    "<|{{ k }}|>{{ v }}<|im_end|>{% endfor %}{{ c.function.arguments | dictsort }}{{ c.id }}{% endfor %}"
    "{{ m.tool_call_id }}{{ m | list }}{{ m.content | title | capitalize }}{% endfor %}",
}


@cache
def template(source: str) -> ChatTemplate:
    """A template that is compiled once."""
    return ChatTemplate(source, "<s>", "</s>")


# --- the reference: what transformers renders with -------------------------------------------------


class _Generation(Extension):
    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(lineno)

    def _same(self, caller: Any) -> str:
        return str(caller())


def _tojson(x: Any, **options: Any) -> str:
    return json.dumps(x, **{"ensure_ascii": False, **options})


def _raise(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


@cache
def _reference(source: str) -> jinja2.Template:
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise
    env.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return env.from_string(source)


def reference(
    source: str, messages: Sequence[Any], tools: Sequence[Any], generate: bool = True
) -> str | None:
    """What Hugging Face's settings render, or None where the template refuses."""
    copied = json.loads(json.dumps([messages, tools]))
    variables = {"messages": copied[0], "tools": copied[1] or None, "documents": None}
    try:
        return _reference(source).render(
            **variables, add_generation_prompt=generate, bos_token="<s>", eos_token="</s>"
        )
    except Exception:
        return None


# --- expressions and statements that must mean what they mean in Jinja --------------------------------

VALUES = "{% set s = ' A b-c\tß ' %}{% set l = [3, 1, 2] %}{% set d = {'b': 1, 'a': 'x', 'items': 2} %}"
EXPRESSIONS = [
    "s.strip()",
    "s.lstrip() ~ s.rstrip(' ')",
    "s.split()",
    "s.split(' ', 1)",
    "s.rsplit(None, 1)",
    "s[2:5]",
    "s[::-1]",
    "s[1]",
    "s[99]",
    "s.upper()",
    "s | upper",
    "s | title",
    "s.title()",
    "s | capitalize",
    "s * 2",
    "s.replace('', '-')",
    "s.replace('b', '<>', 1)",
    "s | replace('b', 1)",
    "s.partition('b')",
    "s | trim",
    "s.rpartition('z')",
    r"'a\nb\r\nc'.splitlines()",
    r"'a\nb'.splitlines(true)",
    "s.center(20, '*')",
    "s | e",
    "s.ljust(12) ~ '|'",
    "s.rjust(11) ~ '|'",
    "s.expandtabs(4)",
    "'7'.zfill(3)",
    "s.find('b')",
    "s.count(' ')",
    "s.startswith((' ', 'x'))",
    "'a,b'.join(l | map('string'))",
    "l | join('/')",
    "'%s|%5.1f|%-4s|%%' % (s, 2, 3)",
    "'%(b)s-%(a)r' % d",
    "'{0[b]}{a!r:>5}{{}}'.format(d, a=s)",
    "'{} {}'.format(l, d.a)",
    "'{b}'.format_map(d)",
    r"'a\nb\n\nc' | indent",
    r"'a\n\nb' | indent(2, true, true)",
    "s | truncate(4, true, '')",
    "s | wordcount",
    "l | sort",
    "l | sort(reverse=true)",
    "['b', 'A'] | sort",
    "d | dictsort",
    "d | items | list",
    "l | reverse | list",
    "l | first",
    "l | last",
    "l | sum",
    "l | min",
    "l | max",
    "l | length",
    "[1, 1, 2] | unique | list",
    "l | list",
    "d.items() | list",
    "d['items']",
    "d.keys() | list",
    "d.get('q', 5)",
    "d | length",
    "d.b ~ d['a']",
    "d.q.r is defined",
    "d",
    "l",
    r"""[d, l, none, true, 1.5, 'it\'s', '"q"']""",
    "d | tojson",
    r"[d, 'ü\n<'] | tojson(ensure_ascii=true)",
    "d | tojson(indent=2, sort_keys=true)",
    "l | tojson(separators=(',', ':'))",
    "[] | tojson(indent=1)",
    "{} | tojson",
    "1 < 2 < 3",
    "3 > 2 > 2",
    "1 in l and 'b' in d and 'A' in s",
    "9 not in l",
    "l == [3, 1, 2]",
    "d == {'b': 2}",
    "1 == true",
    "7 // 2 + 7 % 4 - 2 ** 3",
    "7 / 2",
    "-l[0]",
    "2.5 | round",
    "2.4 | round(0, 'ceil')",
    "'12' | int + '1.5' | float",
    "-3 | abs",
    "l | select('odd') | list",
    "l | reject('eq', 1) | list",
    "[d] | map(attribute='a') | list",
    "[d] | selectattr('b') | list",
    "[d] | selectattr('a', 'equalto', 'x') | map(attribute='b') | join",
    "l is sequence and d is mapping and s is string",
    "none is none and q is undefined and q is not defined",
    "3 is odd and 4 is even and 4 is divisibleby 2",
    "l is iterable",
    "q | default('z')",
    "'' | default('z', true)",
    "q.r | default('z')",
    "range(3) | list",
    "dict(a=1).a",
    "(1, 2)",
    "(1,)",
    "namespace(a=1).a",
    "joiner(',')() ~ 1",
    "cycler(1, 2).next()",
    "s is lower or 'a' is lower",
    "l[-1] ~ l[1:]",
    "l + [1] ~ 'x'",
    "('<' | safe) + '<' ~ '<'",
    "d | string",
    "l | string | length",
    "(l, d) | tojson",
    "'a' if l else 'b'",
    "not l",
    "l and d",
]
STATEMENTS = [
    "{% for a, b in {'x': 1, 'y': 2}.items() %}{{ loop.index ~ loop.first ~ a ~ b ~ loop.length }}{% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) ~ loop.previtem ~ loop.nextitem ~ loop.cycle(1, 2) }}{% endfor %}",
    "{% for x in [3, 4, 5] if x != 4 %}{{ x }}{{ loop.last }}{{ loop.revindex }}{% else %}none{% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is sequence else x }}{{ loop.depth }}{% endfor %}",
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1) }}{{ f(1, 3, 4, c=5) }}",
    "{% macro f() %}[{{ caller('x') }}]{% endmacro %}{% call(y) f() %}{{ y }}!{% endcall %}",
    "{% set x %}a{{ 1 }}{% endset %}{{ x | upper }}{% filter upper %}b{{ x }}{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% for x in 'ab' %}{{ x }}{% if x == 'a' %}{% continue %}{% endif %}.{% endfor %}",
    "{% for x in [] %}{% else %}none{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for x in range(5) %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
    "{% set a, b = 1, 'x' %}{{ a ~ b }}{% if a %}1{% elif b %}2{% endif %}",
]


# --- conversations ---------------------------------------------------------------------------------


def tool(name: str, description: str = "Does it.", **parameters: Any) -> dict[str, Any]:
    properties = parameters or {"city": {"type": "string", "description": "Where"}, "n": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def call(name: str, arguments: dict[str, Any], id: str = "abcdefghi") -> dict[str, Any]:
    return {"type": "function", "id": id, "function": {"name": name, "arguments": arguments}}


# --- vocabularies ----------------------------------------------------------------------------------

_SPELLED = re.compile(
    r"<\|[^|<>\s'\"{}]+\|?>|<\uff5c[^\uff5c<>\s'\"{}]+\uff5c>|\[/?[A-Z_]{3,}\]|</?s>|<(?:start|end)_of_turn>"
)
_MARKERS = re.compile(r"</?(?:think|tool_call|tool_response|tools)>")


class SpelledEngine:
    """A token per character, but for what a template spells like a control token or a marker."""

    def __init__(self, source: str) -> None:
        self.control = sorted({*_SPELLED.findall(source), "<|im_end|>", "<|im_start|>", "<s>", "</s>"})
        self.markers = sorted({*_MARKERS.findall(source), "<think>", "</think>"})
        self.info = EngineInfo(
            n_vocab=9_000_000,
            n_ctx_train=1024,
            chat_template=source,
            control=tuple(self.control),
            markers=tuple(self.markers),
            bos="<s>",
            eos="</s>",
        )
        self._control = {spelling: 2_000_000 + number for number, spelling in enumerate(self.control)}
        self._markers = {spelling: 3_000_000 + number for number, spelling in enumerate(self.markers)}
        self._spelled = {token: word for word, token in {**self._control, **self._markers}.items()}

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        known = {**self._markers, **(self._control if parse_special else {})}
        pattern = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
        tokens: list[int] = []
        for part in re.split(f"({pattern})", text):
            tokens += [known[part]] if part in known else [ord(char) for char in part]
        return tokens

    def spell(self, token: int) -> str:
        """What a token stands for."""
        return self._spelled[token] if token >= 2_000_000 else chr(token)

    def specials(self, tokens: Sequence[int]) -> list[int]:
        """The control tokens and markers among tokens."""
        return [token for token in tokens if token >= 2_000_000]
