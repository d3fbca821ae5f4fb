"""What types the parameters of tools have, and texts of arguments as JSON of these types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from .json_types import json_type
from .scanner import Misspelled, Scanner
from .value_reader import ValueReader, escaped

#: A parameter's JSON schema.
Schema: TypeAlias = Mapping[str, Any]
#: Names of JSON's types; None where a schema allows all or is not understood.
Types: TypeAlias = frozenset[str] | None

STRING = frozenset({"string"})
#: Steps through references and alternatives of a schema.
_MAX_STEPS = 64
_ANY: Schema = {}
#: What a value's JSON text begins with; all others are numbers.
_KINDS = {'"': "string", "{": "object", "[": "array", "t": "boolean", "f": "boolean", "n": "null"}


class ParameterTypes:
    """What is known of the parameters of the tools that a call offers.

    Args:
        tools: the tools, OpenAI-shaped and checked.

    Attributes:
        names: the names of the tools.
    """

    def __init__(self, tools: Iterable[Mapping[str, Any]] = ()) -> None:
        functions = [tool["function"] for tool in tools]
        self._schemas: dict[str, Schema] = {
            tool["name"]: tool.get("parameters") or _ANY for tool in functions
        }
        self.names = frozenset(self._schemas)

    def parameter(self, tool: str, key: str) -> Parameter:
        """One parameter of a tool; one of any type, if the tool does not say."""
        schema = self._schemas.get(tool, _ANY)
        return Parameter(schema, schema).member(key)


class Parameter:
    """A parameter or a part of one.

    Args:
        schema: the JSON schema of the parameter.
        root: the schema within which references stand.
    """

    def __init__(self, schema: object, root: Schema) -> None:
        self._schema: Schema = schema if isinstance(schema, Mapping) else _ANY
        self._root = root
        self._steps = 0

    @property
    def types(self) -> Types:
        """The types of its values."""
        self._steps = 0
        return self._types(self._schema)

    def member(self, key: str) -> Parameter:
        """The part under a key of an object."""
        return self._part("properties", key)

    def item(self) -> Parameter:
        """The items of a list."""
        return self._part("items", None)

    def _part(self, keyword: str, key: str | None) -> Parameter:
        self._steps = 0
        for schema in self._alternatives(self._schema):
            found = schema.get(keyword)
            if key is not None:
                found = found.get(key) if isinstance(found, Mapping) else None
            if found is not None:
                return Parameter(found, self._root)
        return Parameter(_ANY, self._root)

    def _alternatives(self, schema: Schema) -> list[Schema]:
        """A schema, and those that it refers to or is made of."""
        found, waiting = [], [schema]
        while waiting and self._steps < _MAX_STEPS:
            self._steps += 1
            schema = waiting.pop()
            found.append(schema)
            for part in ("anyOf", "oneOf", "allOf"):
                several = schema.get(part)
                if isinstance(several, Sequence) and not isinstance(several, str):
                    waiting += [one for one in several if isinstance(one, Mapping)]
            target = self._referred(schema.get("$ref"))
            if target is not None:
                waiting.append(target)
        return found

    def _referred(self, reference: object) -> Schema | None:
        """What a reference within the tool's schema stands for."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return None
        found: Any = self._root
        for step in reference[2:].split("/")[:_MAX_STEPS]:
            found = (
                found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
            )
        return found if isinstance(found, Mapping) else None

    def _types(self, schema: Schema) -> Types:
        found: set[str] = set()
        for one in self._alternatives(schema):
            found |= _own_types(one)
        return frozenset(found) or None


def _own_types(schema: Schema) -> set[str]:
    """The types that a schema itself names, by its type or by its values."""
    named = schema.get("type")
    if isinstance(named, str):
        return {"number" if named == "integer" else named}
    if isinstance(named, Sequence):
        return {"number" if name == "integer" else name for name in named if isinstance(name, str)}
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if not isinstance(values, Sequence) or isinstance(values, str):
        return set()
    return {json_type(value) for value in values}


def whole_value(text: str) -> str | None:
    """A text that is one value, as JSON text; None for any other text."""
    source, out = Scanner(), list[str]()
    source.add(text)
    source.final = True
    try:
        for _ in ValueReader(source, out.append).value():
            return None
    except Misspelled:
        return None
    return None if source.rest.strip() else "".join(out)


def json_text(text: str, types: Types) -> str:
    """The JSON text of an argument that is written without JSON's quotes.

    Args:
        text: the argument.
        types: the types that its tool allows. Where nobody knows them, a text that can be a number, a constant, a
            list or an object is one.
    """
    value = None if types == STRING else whole_value(text)
    if value is not None and (types is None or "string" in types):
        kind = _KINDS.get(value[0], "number")
        if kind == "string" or (types is not None and kind not in types):
            value = None
    return f'"{escaped(text)}"' if value is None else value
