"""JSON schemas, as far as they are checked before an engine sees them: what they refer to, and what they cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from .limits import LIMITS
from .readings import Choices, check_merged, check_readings
from .refusals import refuse_grammar
from .regexes import check_regex

#: Keywords that llguidance does not enforce. All but these it enforces, or refuses itself.
_NOT_ENFORCED = frozenset(
    (
        *("uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems"),
        *("propertyNames", "unevaluatedProperties"),
        *("dependentRequired", "dependentSchemas", "dependencies"),
        *("not", "if", "then", "else", "$dynamicRef", "$recursiveRef"),
    )
)
#: Keywords under which one schema stands, several in a list, and several by name.
_ONE = frozenset(("items", "additionalItems", "additionalProperties", "contains", "propertyNames"))
_ONE |= {"not", "if", "then", "else", "unevaluatedItems", "unevaluatedProperties", "contentSchema"}
_LIST = frozenset(("anyOf", "oneOf", "allOf", "prefixItems", "items"))
_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_COUNTS = frozenset(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"))
#: Every keyword of JSON Schema, of any of its drafts and of OpenAPI.
_KNOWN = _NOT_ENFORCED | _ONE | _LIST | _NAMED | _COUNTS
_KNOWN |= {"type", "enum", "const", "required", "pattern", "format", "multipleOf", "nullable"}
_KNOWN |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_KNOWN |= {"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"}
_KNOWN |= {"$schema", "$id", "id", "$ref", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary"}
_KNOWN |= {"$comment", "contentEncoding", "contentMediaType", "discriminator", "xml", "externalDocs"}
_NEAR, _LONGEST = 0.8, max(map(len, _KNOWN)) + 2
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")


def check_schema(field: str, schema: dict[str, Any], strict: bool) -> None:
    """Check a schema, whose size was checked before.

    Args:
        field: what the schema is, for messages.
        schema: the schema, as plain data of our own; what says nothing to an engine is taken out.
        strict: whether to refuse keywords that cannot be enforced.

    Raises:
        InvalidGrammar: no answer can be held to the schema, or compiling it would cost too much.
    """
    found = _Walk(field, schema)
    steps = 1
    for path, one in found.walked():
        _tidy(one)
        _check_types(path, one)
        if strict:
            _refuse_not_enforced(path, one)
            _refuse_misspelled(path, one)
        if isinstance(pattern := one.get("pattern"), str):
            check_regex(f"{path}.pattern", pattern)
        for name in _under(one, "patternProperties"):
            check_regex(f"{path}.patternProperties", name)
        _check_properties(f"{path}.properties", one)
        if "multipleOf" in one:
            steps = _check_multiple(f"{path}.multipleOf", one["multipleOf"], steps)
    found.check()


class _Walk:
    """Goes through a schema, and through all that its references lead to.

    Attributes:
        referred: what each schema with a ``$ref`` refers to, by the id of that schema.
    """

    def __init__(self, field: str, schema: dict[str, Any]) -> None:
        self._field, self._schema = field, schema
        self._paths: dict[int, tuple[str, dict[str, Any]]] = {}
        self.referred: dict[int, dict[str, Any]] = {}
        self._elsewhere = 0
        self._bases = 0

    def walked(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each schema once, with its path."""
        pending = [(self._field, self._schema)]
        while pending:
            place = pending.pop()
            if id(place[1]) in self._paths:
                continue
            for path, one in _schemas(*place):
                if id(one) in self._paths:
                    continue
                self._paths[id(one)] = (path, one)
                self._bases += "$id" in one
                if "$ref" in one:
                    target = _check_reference(f"{path}.$ref", one["$ref"], self._schema)
                    if isinstance(target, dict):
                        self.referred[id(one)] = target
                        if id(target) not in self._paths:
                            pending.append((f"{path}.$ref", target))
                    self._elsewhere += target is None
                yield path, one

    def check(self) -> None:
        """Refuse what can be read in too many ways; after all was walked through."""
        choices = Choices(self.referred)
        unions = [
            len(one[key])
            for _, one in self._paths.values()
            for key in ("anyOf", "oneOf")
            if isinstance(one.get(key), tuple)
        ]
        check_merged(
            self._field, self._schema, sum(choices.merged(path, one) for path, one in self._paths.values())
        )
        references = Counter(id(target) for target in self.referred.values())
        # An anchor, and a reference beside a base of its own, may mean any of the schemas.
        unknown = self._elsewhere + (len(self.referred) if self._bases > 1 else 0)
        for key, (path, one) in self._paths.items():
            n = references[key] + unknown
            check_readings(path, one, path, choices.of(path, one).alternatives, n, sum(unions))


def _check_properties(path: str, schema: Mapping[str, Any]) -> None:
    properties = _under(schema, "properties")
    if len(properties) > (most := int(LIMITS["properties"].high)):
        refuse_grammar(path, properties, f"give at most {most:,} ({LIMITS['properties'].why})")
    needed = schema.get("required")
    optional = properties.keys() - set(needed if isinstance(needed, tuple) else ())
    if len(optional) > (most := int(LIMITS["optional"].high)):
        refuse_grammar(
            path, properties, f"put all but {most:,} into 'required', or into objects of their own"
        )


def _refuse_misspelled(path: str, schema: Mapping[str, Any]) -> None:
    """Refuse a keyword that comes near a known one. Other unknown ones mean nothing, as JSON Schema says."""
    for keyword in schema.keys() - _KNOWN:
        if len(keyword) <= _LONGEST and (near := get_close_matches(keyword, _KNOWN, 1, _NEAR)):
            refuse_grammar(
                f"{path}.{keyword}", schema[keyword], f"did you mean {near[0]}? strict=False ignores it"
            )


def _tidy(schema: dict[str, Any]) -> None:
    """Spell a schema as llguidance takes it: no ``uniqueItems: false``, which says nothing, and counts as ints."""
    if schema.get("uniqueItems") is False:
        del schema["uniqueItems"]
    for keyword in _COUNTS & schema.keys():
        if isinstance(value := schema[keyword], float) and value.is_integer():
            schema[keyword] = int(value)


def _schemas(field: str, schema: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all that stand in it, each with its path."""
    if not isinstance(schema, dict):
        return
    yield field, schema
    for keyword, value in schema.items():
        path = f"{field}.{keyword}"
        if isinstance(value, Mapping):
            if keyword in _ONE:
                yield from _schemas(path, value)
            elif keyword in _NAMED:
                for name, one in value.items():
                    yield from _schemas(f"{path}.{name[:60]}", one)
        elif isinstance(value, tuple) and keyword in _LIST:
            for i, one in enumerate(value):
                yield from _schemas(f"{path}[{i}]", one)


def _under(schema: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    value = schema.get(keyword)
    return value if isinstance(value, Mapping) else {}


def _check_types(path: str, schema: Mapping[str, Any]) -> None:
    kinds = schema.get("type", ())
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        if kind not in _TYPES:
            refuse_grammar(f"{path}.type", kind, f"use {', '.join(_TYPES)}, or a list of these")


def _refuse_not_enforced(path: str, schema: Mapping[str, Any]) -> None:
    for keyword, value in schema.items():
        if keyword in _NOT_ENFORCED:
            # A tool has a 'strict' of its own.
            of_tool = path.startswith("tools[")
            remedy = "or 'strict' of the function" if of_tool else "or give strict=False, which ignores it"
            refuse_grammar(f"{path}.{keyword}", value, f"leave out {keyword}, {remedy}")


def _check_reference(path: str, target: object, root: Mapping[str, Any]) -> Any:
    """What a reference refers to; None for an anchor. Nothing is fetched for one out of the schema."""
    if not isinstance(target, str) or not target.startswith("#"):
        refuse_grammar(path, target, "nothing is fetched; use '#/$defs/...', and put what it means there")
    if target == "#":
        return root
    found: Any = None
    if target.startswith("#/"):
        found = root
        for part in target[2:].split("/"):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, tuple) and name.isascii() and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            else:
                refuse_grammar(path, target, "there is nothing of that name in the schema")
    return found


def _check_multiple(path: str, value: object, steps: int) -> int:
    """What all multiples so far cost together: a state for each remainder, but those of 2 and 5."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        refuse_grammar(path, value, "use a number above 0")
    rest = Fraction(repr(value)).numerator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    steps = math.lcm(steps, rest)
    if steps > (most := int(LIMITS["multiple"].high)):
        refuse_grammar(path, value, f"use one whose factors beside 2 and 5 make at most {most:,}")
    return steps
