"""In how many ways a text can be read at once, and what that costs an engine: for schemas and for grammars.

Where many alternatives begin alike, an engine follows all of them. If they also contain one another, each end of an
alternative is looked up in all places that refer to it. That takes seconds which nothing can interrupt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .limits import LIMITS
from .refusals import refuse_grammar

_READINGS, _MERGED = int(LIMITS["readings"].high), int(LIMITS["merged"].high)
_STEPS = int(LIMITS["schema_depth"].high)
_UNIONS = ("anyOf", "oneOf")
#: Keywords beside which alternatives stay as they are. Beside others, each is merged with what stands there.
_BESIDE = frozenset(
    (
        *("$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "type"),
        *("title", "description", "default", "examples", "deprecated", "discriminator"),
    )
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What may be chosen at a place of a schema.

    Attributes:
        alternatives: how many schemas there are to choose from, after all parts were merged.
        properties: how many properties one of them has, and parts.
    """

    alternatives: int
    properties: int


class Choices:
    """What may be chosen at the places of one schema.

    Args:
        referred: what each schema with a ``$ref`` refers to, by the id of that schema.
    """

    def __init__(self, referred: Mapping[int, Mapping[str, Any]]) -> None:
        self._referred = referred
        self._found: dict[int, Choice] = {}

    def of(self, path: str, schema: Any, steps: int = 0) -> Choice:
        """What may be chosen where a schema stands.

        Raises:
            InvalidGrammar: that is found out in too many steps.
        """
        if not isinstance(schema, Mapping):
            return Choice(1, 1)
        if (known := self._found.get(id(schema))) is not None:
            return known
        if steps > _STEPS:
            refuse_grammar(path, schema, f"let at most {_STEPS} schemas lead to one another")
        # A schema that leads to itself adds nothing.
        self._found[id(schema)] = Choice(1, 1)
        alternatives, properties = 1, 1
        for part in self._parts(schema):
            found = [self.of(path, one, steps + 1) for one in part]
            alternatives *= max(1, sum(one.alternatives for one in found))
            alternatives = min(alternatives, _READINGS + 1)
            properties += max((one.properties for one in found), default=0)
        named = schema.get("properties")
        properties = min(properties + (len(named) if isinstance(named, Mapping) else 0), _MERGED)
        self._found[id(schema)] = Choice(alternatives, properties)
        return self._found[id(schema)]

    def _parts(self, schema: Mapping[str, Any]) -> Iterator[list[Any]]:
        """The parts of a schema that must all hold, each as what may be chosen from; constants cost nothing."""
        for keyword in _UNIONS:
            if isinstance(union := schema.get(keyword), tuple):
                yield [
                    one for one in union if isinstance(one, Mapping) and not one.keys() & {"const", "enum"}
                ]
        if isinstance(whole := schema.get("allOf"), tuple):
            yield from ([one] for one in whole)
        if (target := self._referred.get(id(schema))) is not None:
            yield [target]

    def merged(self, path: str, schema: Mapping[str, Any]) -> int:
        """What merging the parts of a schema costs; 0 if there is nothing to merge."""
        parts = sum(1 for _ in self._parts(schema))
        beside = schema.keys() - _BESIDE - {*_UNIONS, "allOf", "$ref"}
        if parts + bool(beside) < 2:
            return 0
        found = self.of(path, schema)
        return found.alternatives * found.properties if found.alternatives > 1 else 0


def check_merged(field: str, value: object, merged: int) -> None:
    """Refuse a schema whose parts make too many schemas together."""
    if merged > _MERGED:
        refuse_grammar(
            field,
            value,
            "write the alternatives out; merged with what stands beside them or under allOf, they come to more than"
            f" {_MERGED:,} properties",
        )


def check_readings(
    field: str, value: object, name: str, alternatives: int, references: int, all_: int
) -> None:
    """Refuse a schema or grammar in which a rule has many alternatives, and many places refer to that rule.

    Args:
        field: what is checked, for messages.
        value: the schema or grammar, which messages show.
        name: what the rule is called.
        alternatives: those of the rule.
        references: places that refer to the rule.
        all_: alternatives of all rules.

    Raises:
        InvalidGrammar: the three numbers multiplied are too large.
    """
    if alternatives > 1 and alternatives * references * max(all_, alternatives) > _READINGS:
        refuse_grammar(
            field,
            value,
            f"give {name} fewer alternatives than {alternatives:,}, or refer to it at fewer places than"
            f" {references:,}: both, and {all_:,} alternatives in all, make at most {_READINGS:,} when multiplied",
        )
