"""Rules in Lark of one tool call, for each kind of spelling."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..text.parameter_types import Parameter, Types
from ..text.tool_format import ToolFormat
from .guide_vocabulary import GuideVocabulary, quoted
from .lark_parts import embedded, pattern

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_ID, _SHORT_ID = "/[A-Za-z0-9_.:-]{1,64}/", "/[A-Za-z0-9]{9}/"
_NUMBER = "/[0-9]{1,3}/"
_END = quoted('"}')
_DEFINITIONS = ("$defs", "definitions")
#: Values in a language of objects whose strings have marks of their own around them.
_VALUE_RULES = (
    'value: marked_string | NUMBER | "true" | "false" | "null" | marked_list | marked_object',
    r"NUMBER: /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/",
    'marked_list: "[" (value ("," value)*)? "]"',
    'marked_object: "{" (member ("," member)*)? "}"',
    'member: KEY ":" value',
    "KEY: /[A-Za-z_][A-Za-z0-9_.-]*/",
)
#: Values as Python shows them, with single quotes around strings.
_PYTHON_RULES = (
    'python_value: QUOTED | NUMBER | "True" | "False" | "None" | python_list | python_dict',
    r"QUOTED: /'([^'\\]|\\.)*'/",
    _VALUE_RULES[1],
    'python_list: "[" (python_value (", " python_value)*)? "]"',
    'python_dict: "{" (QUOTED ": " python_value (", " QUOTED ": " python_value)*)? "}"',
)
_PYTHON = {"string": "QUOTED", "array": "python_list", "object": "python_dict"}
_MARKED = {
    "string": "marked_string",
    "number": "NUMBER",
    "boolean": '"true" | "false"',
    "null": '"null"',
    "array": "marked_list",
    "object": "marked_object",
}


def rules_of_calls(
    spelled: ToolFormat, tools: Sequence[Mapping[str, Any]], vocabulary: GuideVocabulary
) -> tuple[str, ...]:
    """Rules of which ``one`` is a call, without what stands around calls.

    Args:
        spelled: how the model spells calls.
        tools: those that may be called, OpenAI-shaped.
        vocabulary: the tokens.
    """
    rules = CallRules(spelled, vocabulary)
    names = [rules.add_call(i, tool) for i, tool in enumerate(tools)]
    space = "SPACE" if spelled.kind == "array" else ""
    return (f"one: {space} ({' | '.join(names)}) {space}", *rules.lines)


class CallRules:
    """Makes the rules of calls.

    Args:
        spelled: how the model spells calls.
        vocabulary: the tokens.

    Attributes:
        lines: the rules so far.
    """

    def __init__(self, spelled: ToolFormat, vocabulary: GuideVocabulary) -> None:
        self._spelled, self._vocabulary = spelled, vocabulary
        self.lines: list[str] = []
        if spelled.kind == "array":
            self.lines.append(r"SPACE: /[ \n]{0,16}/")
        if spelled.id_place != "none":
            counted = spelled.first_number is not None or spelled.id_place == "within"
            self.lines.append(f"ID: {_NUMBER if counted else _SHORT_ID if spelled.short_ids else _ID}")
        if spelled.bare_keys:
            mark = vocabulary.lark(spelled.quote)
            self.lines += [*_VALUE_RULES, *self._marked_string(mark)]

    def add_call(self, number: int, tool: Mapping[str, Any]) -> str:
        """Add the rules of the calls of a tool; the name of the first of them."""
        name = f"call_{number}"
        kind = self._spelled.kind
        make = (
            self._object
            if kind in ("object", "array")
            else self._pythonic
            if kind == "pythonic"
            else self._named
        )
        self.lines.append(f"{name}: {make(number, tool)}")
        return name

    def _object(self, number: int, tool: Mapping[str, Any]) -> str:
        spelled, name = self._spelled, json.dumps(tool["function"]["name"])
        arguments = self._schema(f"arguments_{number}", arguments_schema(tool), lenient(tool))
        if not spelled.name_key:
            return f"{quoted(f'{{{name}: ')} {arguments} {quoted('}')}"
        head = f"{json.dumps(spelled.name_key)}: {name}, {json.dumps(spelled.arguments_key)}: "
        written = f'{json.dumps(spelled.id_key)}: "'
        if spelled.id_place == "none":
            return f"{quoted('{' + head)} {arguments} {quoted('}')}"
        if spelled.id_last:
            rest = f", {written}"
            return f"{quoted('{' + head)} {arguments} {quoted(rest)} ID {_END}"
        rest = f'", {head}'
        return f"{quoted('{' + written)} ID {quoted(rest)} {arguments} {quoted('}')}"

    def _named(self, number: int, tool: Mapping[str, Any]) -> str:
        spelled, lark = self._spelled, self._vocabulary.lark
        name = tool["function"]["name"]
        mark = lark(spelled.id_mark)
        head = {
            "before": f"ID {mark} {quoted(name)}",
            "after": f"{quoted(name)} {mark} ID",
            "within": f"{quoted(spelled.id_prefix + name)} {mark} ID",
        }.get(spelled.id_place, quoted(name))
        again = name + spelled.name_end if spelled.name_end else ""
        close = lark(spelled.name_closes[0] + again)
        if spelled.kind == "tagged":
            return self._tagged(number, tool, head, close)
        if spelled.bare_keys:
            return f"{head} {close} {self._marked(number, tool)}"
        return f"{head} {close} {self._schema(f'arguments_{number}', arguments_schema(tool), lenient(tool))}"

    # --- arguments between marks

    def _tagged(self, number: int, tool: Mapping[str, Any], head: str, close: str) -> str:
        schema = arguments_schema(tool)
        parts = []
        for i, (key, parameter, required) in enumerate(_parameters(schema)):
            rule = f"argument_{number}_{i}"
            self._argument(rule, key, parameter, schema, lenient(tool))
            parts.append(rule if required else f"{rule}?")
        if not parts and not _is_closed(schema):
            parts.append(f"{self._any_argument()}*")
        none = self._spelled.no_arguments
        empty = (
            none
            and none != self._spelled.name_closes[0]
            and not any(not part.endswith(("?", "*")) for part in parts)
        )
        whole = f"{head} {close} {' '.join(parts)}"
        return f"({whole} | {head} {self._vocabulary.lark(none)})" if empty else whole

    def _argument(self, rule: str, key: str, schema: Any, root: Mapping[str, Any], is_lenient: bool) -> None:
        spelled, lark = self._spelled, self._vocabulary.lark
        types = Parameter(schema, root).types
        opening = lark(spelled.key_open + key) if not spelled.key_closes else ""
        text = f"{self._text(rule, spelled.value_close, key, schema)}"
        if not spelled.key_closes:
            value = self._untyped(rule, types, schema, root, key, text, is_lenient)
            self.lines.append(f"{rule}: {opening} {lark(spelled.key_close)} {value}")
            return
        begin, choices = spelled.key_open + key, []
        if types is None or "string" in types:
            choices.append(f"{lark(begin + spelled.key_close)} {text}")
        for kind, close in spelled.key_closes:
            if types is None or kind in types:
                one = (
                    _part(schema, root)
                    if types == frozenset({kind})
                    else {**_part(schema, root), "type": kind}
                )
                value = self._schema(f"{rule}_{kind}", one, is_lenient)
                choices.append(f"{lark(begin + close)} {value} {lark(spelled.value_close)}")
        self.lines.append(f"{rule}: {' | '.join(choices)}")

    def _untyped(
        self,
        rule: str,
        types: Types,
        schema: Any,
        root: Mapping[str, Any],
        key: str,
        text: str,
        is_lenient: bool,
    ) -> str:
        """A value whose marks do not say what type it has."""
        spelled = self._spelled
        if types is None or "string" in types or (spelled.item and types & {"array", "object"}):
            return text
        close = self._vocabulary.lark(self._value_close(key))
        python = {"boolean": ("True", "False"), "null": ("None",)} if spelled.python_values else {}
        others = [quoted(word) for kind in sorted(types) for word in python.get(kind, ())]
        value = self._schema(f"{rule}_json", _part(schema, root), is_lenient)
        return f"({' | '.join([value, *others])}) {close}"

    def _value_close(self, key: str) -> str:
        spelled = self._spelled
        return spelled.value_close + key + spelled.value_end if spelled.value_end else spelled.value_close

    def _text(self, rule: str, close: str, key: str, schema: Any) -> str:
        """Any text, or one of those that the schema names, and the mark after it."""
        close = self._value_close(key)
        values = schema.get("enum") if isinstance(schema, Mapping) else None
        if values and all(isinstance(value, str) for value in values):
            return f"({' | '.join(map(quoted, values))}) {self._vocabulary.lark(close)}"
        parts = self._vocabulary.parts(close)
        first = next((i for i, part in enumerate(parts) if isinstance(part, int)), None)
        if first is not None:
            # No text holds a control token.
            self._add("TEXT: /(.|\\n)*/")
            return f"TEXT {self._vocabulary.joined(parts[first:])}"
        self._add(f"{rule}_text[lazy]: /(.|\\n)*{pattern(close)}/")
        return f"{rule}_text"

    def _any_argument(self) -> str:
        spelled, lark = self._spelled, self._vocabulary.lark
        if spelled.value_end:
            # Its closing mark repeats a key that is not known.
            return '""'
        self._add("KEY: /[A-Za-z0-9_.-]{1,64}/")
        text = self._text("any_argument", spelled.value_close, "", {})
        self._add(f"any_argument: {lark(spelled.key_open)} KEY {lark(spelled.key_close)} {text}")
        return "any_argument"

    # --- arguments in Python's syntax, and in objects whose keys have no quotes

    def _pythonic(self, number: int, tool: Mapping[str, Any]) -> str:
        schema, quote = arguments_schema(tool), self._spelled.quote
        items = []
        for i, (key, parameter, required) in enumerate(_parameters(schema)):
            rule = f"argument_{number}_{i}"
            types = Parameter(parameter, schema).types
            others = (
                []
                if types is None
                else [w for k, w in (("boolean", '"True" | "False"'), ("null", '"None"')) if k in types]
            )
            if quote == "'":
                for line in _PYTHON_RULES:
                    self._add(line)
                others += [rule for kind, rule in _PYTHON.items() if types is None or kind in types]
            value = self._schema(f"{rule}_json", _part(parameter, schema), lenient(tool))
            self.lines.append(f"{rule}: {quoted(key + '=')} ({' | '.join([value, *others])})")
            items.append((rule, required))
        return (
            f"{quoted(tool['function']['name'] + '(')} {self._separated(number, items, ', ')} {quoted(')')}"
        )

    def _marked(self, number: int, tool: Mapping[str, Any]) -> str:
        schema = arguments_schema(tool)
        if not _parameters(schema) and not _is_closed(schema):
            return "marked_object"
        items = []
        for i, (key, parameter, required) in enumerate(_parameters(schema)):
            rule = f"argument_{number}_{i}"
            self.lines.append(
                f"{rule}: {quoted(key + ':')} {_marked_value(Parameter(parameter, schema).types)}"
            )
            items.append((rule, required))
        return f"{quoted('{')} {self._separated(number, items, ',')} {quoted('}')}"

    def _marked_string(self, mark: str) -> tuple[str, ...]:
        if mark.startswith("<["):
            return (f"marked_string: {mark} MARKED {mark}", "MARKED: /(.|\\n)*/")
        end = pattern(self._spelled.quote)
        return (f"marked_string: {mark} marked_end", f"marked_end[lazy]: /(.|\\n)*{end}/")

    def _separated(self, number: int, items: Sequence[tuple[str, bool]], separator: str) -> str:
        """Items in their order, with separators between them; some may be left out."""
        first, more = f"first_{number}", f"more_{number}"
        comma = quoted(separator)
        for i, (rule, required) in enumerate(items):
            skip_first, skip_more = ("", "") if required else (f" | {first}_{i + 1}", f" | {more}_{i + 1}")
            self.lines.append(f"{first}_{i}: {rule} {more}_{i + 1}{skip_first}")
            self.lines.append(f"{more}_{i}: {comma} {rule} {more}_{i + 1}{skip_more}")
        self.lines += [f'{first}_{len(items)}: ""', f'{more}_{len(items)}: ""']
        return f"{first}_0"

    # --- parts

    def _schema(self, rule: str, schema: Mapping[str, Any], is_lenient: bool) -> str:
        """Add a rule of JSON, which is a rule of its own since its schema may refer to its root."""
        self.lines.append(f"{rule}: {embedded(schema, lenient=is_lenient)}")
        return rule

    def _add(self, line: str) -> None:
        """Add a rule that several calls share, once."""
        if line not in self.lines:
            self.lines.append(line)


def arguments_schema(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON schema of a tool's arguments: any object if the tool is not strict."""
    function = tool["function"]
    if function.get("strict") is False or not function.get("parameters"):
        return _ANY_OBJECT
    found: Mapping[str, Any] = function["parameters"]
    return found if found.get("type") else {"type": "object", **found}


def lenient(tool: Mapping[str, Any]) -> bool:
    """Whether keywords of a tool's schema that cannot be enforced are ignored."""
    return not tool["function"].get("strict")


def _marked_value(types: Types) -> str:
    """What a value of some types may be in an object whose strings have marks of their own."""
    known = [_MARKED[kind] for kind in sorted(types or ()) if kind in _MARKED]
    return f"({' | '.join(known)})" if known else "value"


def _parameters(schema: Mapping[str, Any]) -> list[tuple[str, Any, bool]]:
    """The parameters of a tool: key, schema, and whether it must be given."""
    properties = schema.get("properties")
    required = schema.get("required")
    needed = required if isinstance(required, Sequence) and not isinstance(required, str) else ()
    return (
        [(key, part, key in needed) for key, part in properties.items()]
        if isinstance(properties, Mapping)
        else []
    )


def _is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether a tool takes no parameters but those that it names."""
    return isinstance(schema.get("properties"), Mapping)


def _part(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of a schema with what it may refer to."""
    found = schema if isinstance(schema, Mapping) else {}
    if '"#"' in json.dumps(found):
        # It refers to the whole schema, which it is not.
        return {}
    return {**{key: root[key] for key in _DEFINITIONS if key in root}, **found}
