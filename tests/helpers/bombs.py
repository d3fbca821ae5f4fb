"""Schemas, expressions and grammars made to cost much: those that are refused, and those that are cheap."""

from __future__ import annotations

import json
from typing import Any

#: The options of a request, by the name of a bomb.
Bombs = dict[str, dict[str, Any]]


def powers(joint: str) -> str:
    """A billion laughs: ten levels of ten times the next one."""
    rules = [f"{joint}{i}: {' '.join([f'{joint}{i + 1}'] * 10)}" for i in range(9)]
    return "\n".join([f"start: {joint}0", *rules, f'{joint}9: "ha"'])


def ambiguous_rules(n: int) -> str:
    rules = [f'r{i}: "a" r{i * 7 % n} | "b" start' for i in range(n)]
    return "\n".join(["start: " + " | ".join(f"r{i}" for i in range(n)), *rules])


def ambiguous_texts(n: int, others: int = 0) -> str:
    rest = "".join(f'| "x{i}" "a"' for i in range(others))
    return "start: " + "|".join(['"x" start "y"'] * n) + f'| "z" {rest}'


def two_rules(alternatives: int, references: int) -> str:
    inner = " | ".join(f's "{"yz"[i % 2]}"' for i in range(references))
    return "start: s\ns: " + " | ".join(['"x" t "y"'] * alternatives) + f' | "z"\nt: {inner}'


def arrays(n: int, to: str = "#") -> dict[str, Any]:
    return {"anyOf": [{"type": "array", "items": {"$ref": to}, "minItems": i} for i in range(n)]}


def objects(n: int) -> dict[str, Any]:
    one = [{"a": {"$ref": "#"}, f"p{i}": {}} for i in range(n)]
    return {"anyOf": [{"type": "object", "properties": given, "required": ["a"]} for given in one]}


def spread(groups: int, n: int) -> dict[str, Any]:
    """Ambiguous arrays in groups, each a definition of its own."""
    found = {f"d{i}": {"anyOf": arrays(n)["anyOf"]} for i in range(groups)}
    return {"$defs": found, "anyOf": [{"$ref": f"#/$defs/d{i}"} for i in range(groups)]}


def merged(n: int, *, beside: bool) -> dict[str, Any]:
    """A union that is merged with each of as many arrays as it has members."""
    to, more = {"$ref": "#/$defs/u"}, [{"maxItems": 100 + i} for i in range(n)]
    union = [{**to, **one} if beside else {"allOf": [to, one]} for one in more]
    return {"$defs": {"u": arrays(n, "#/$defs/u")}, "anyOf": union}


def crossed(n: int, times: int = 8) -> dict[str, Any]:
    def one(name: str) -> dict[str, Any]:
        return {"properties": {name: {"type": "integer"}}, "required": [name]}

    return {"allOf": [{"anyOf": [one(f"{letter}{i}") for i in range(n)]} for letter in "abcdefgh"[:times]]}


def wide_objects(n: int) -> dict[str, Any]:
    """Objects of many properties, each merged with all of as many others."""
    names = {f"p{i}": {"type": "integer"} for i in range(100)}
    base = {"type": "object", "properties": names, "required": list(names)}
    return {**base, "anyOf": [{"required": [f"q{i}"]} for i in range(n)]}


def ladder(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {"$defs": {**found, f"d{levels}": {"type": "integer"}}, "$ref": "#/$defs/d0"}


def optional(n: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(n)}}


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return found


def with_base(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that calls itself the base of its references."""
    return {"$defs": {"u": {"$id": "u", **schema}}, "$ref": "#/$defs/u"}


def union_of_objects(n: int, required: int = 3) -> dict[str, Any]:
    """Objects told apart by their first property, as APIs have them."""
    more = {f"p{i}": {"type": "string"} for i in range(required)}
    kinds = [{"kind": {"const": f"kind{i}"}, **more} for i in range(n)]
    rest = {"required": ["kind", *more], "additionalProperties": False}
    return {"oneOf": [{"type": "object", "properties": kind, **rest} for kind in kinds]}


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": schema}


_TOOL = {"type": "function", "function": {"name": "f", "parameters": arrays(1_000)}}
REFUSED: Bombs = {
    "F50 sixty thousand groups": {"grammar": "start: " + "(" * 30_000 + '"a"' + ")" * 30_000},
    "F50 repetitions of repetitions of texts": {"grammar": 'start: T\nT: ((("a"{1000}){1000}){1000}){1000}'},
    "F50 repetitions of repetitions of rules": {"grammar": 'start: ((("a"{1000}){1000}){1000}){1000}'},
    "F50 a billion laughs of terminals": {"grammar": powers("T")},
    "F50 a billion laughs of rules": {"grammar": powers("r")},
    "F50 alternatives without end": {"grammar": "start: " + "|".join(["a"] * 8_000) + '\na: "x"'},
    "F50 a thousand ambiguous rules": {"grammar": ambiguous_rules(1_000)},
    "F50 two thousand ambiguous texts": {"grammar": ambiguous_texts(2_000)},
    "F50 ambiguous texts among others": {"grammar": ambiguous_texts(200, 3_000)},
    "F50 two ambiguous rules": {"grammar": two_rules(300, 300)},
    "F50 a schema within a grammar": {"grammar": f"start: %json {json.dumps(arrays(1_000))}"},
    "F50 GBNF in which all is ambiguous": {"grammar": "root ::= " + "|".join(['"x" root "y"'] * 1_000)},
    "F49 a rule that leads to itself only": {"grammar": "start: start"},
    "F49 NUL": {"grammar": 'start: "\0"'},
    "F51 nested quantifiers": {"regex": "(a{1000}){1000}"},
    "F51 a long text": {"regex": "x" * 1_000_000},
    "F51 two thousand levels": _schema(nested(300)),
    "F51 a reference to itself": _schema({"$ref": "#"}),
    "F51 a reference to a server": _schema({"$ref": "http://localhost:1/schema"}),
    "F51 a reference to a file": _schema({"$ref": "file:///etc/passwd"}),
    "F51 a bad expression": _schema({"type": "string", "pattern": "(["}),
    "F51 no text is so long": _schema({"type": "string", "minLength": 5, "maxLength": 2}),
    "F51 alternatives times alternatives": _schema(crossed(10)),
    "F51 two hundred times alternatives": _schema(crossed(200, 2)),
    "F51 a thousand ambiguous arrays": _schema(arrays(1_000)),
    "F51 ambiguous arrays by an anchor": _schema({**arrays(700, "#x"), "$anchor": "x"}),
    "F51 ambiguous arrays with a base": _schema(with_base(arrays(700))),
    "F51 ambiguous arrays under no keyword": _schema({"$ref": "#/x/y", "x": {"y": arrays(700, "#/x/y")}}),
    "F51 seven hundred ambiguous objects": _schema(objects(700)),
    "F51 ambiguous arrays in groups": _schema(spread(30, 30)),
    "F51 a union merged by allOf": _schema(merged(60, beside=False)),
    "F51 a union merged beside a reference": _schema(merged(60, beside=True)),
    "F51 wide objects merged": _schema(wide_objects(400)),
    "F51 three hundred optional properties": _schema(optional(300)),
    "F51 expressions that must all match": _schema(
        {"allOf": [{"type": "string", "pattern": f".*{letter}.{{20}}"} for letter in "abcdef"]}
    ),
    "F51 ambiguous arguments of a tool": {"tools": [_TOOL]},
}
CHEAP: Bombs = {
    "F51 a text as long as it may be": {"regex": "x" * 65_000},
    "F50 a chain of rules": {
        "grammar": "start: r0\n"
        + "\n".join(f'r{i}: "a" r{i + 1} "b" | "c"' for i in range(1_500))
        + '\nr1500: "x"'
    },
    "F50 left recursion": {"grammar": 'start: start "a" | "b"'},
    "F50 as many readings as are taken": {"grammar": ambiguous_texts(169)},
    "F50 five hundred words": {"grammar": "start: " + "|".join(f'"word {i * 7919}"' for i in range(500))},
    "F50 a hundred ambiguous rules": {"grammar": ambiguous_rules(100)},
    "F51 a hundred million characters": _schema({"type": "string", "maxLength": 10**8}),
    "F51 a billion items": _schema({"type": "array", "items": {"type": "integer"}, "minItems": 10**9}),
    "F51 eight thousand values": _schema({"enum": [f"value {i}" for i in range(8_000)]}),
    "F51 thirty thousand choices": {"choices": [f"choice number {i}" for i in range(30_000)]},
    "F51 an expression that backtracks for ever elsewhere": {"regex": "(a|a?)+b"},
    "F51 automata with exponents": {"regex": "(a|b)*a(a|b){40}"},
    "F51 a ladder of references": _schema(ladder(20)),
    "F51 as many ambiguous arrays as are taken": _schema(arrays(160)),
    "F51 as many optional properties as are taken": _schema(optional(200)),
    "F51 as many properties as are taken": _schema(
        {**optional(1_000), "required": [f"p{i}" for i in range(1_000)]}
    ),
    "F51 as many groups of arrays as are taken": _schema(spread(12, 12)),
    "F51 arrays in arrays": _schema({"type": "array", "items": arrays(150, "#/items")}),
    "F51 a union of a hundred objects": _schema(union_of_objects(100)),
    "F51 a union of four hundred objects": _schema(union_of_objects(400)),
    "F51 nine hundred that may be null": _schema(
        {
            "type": "object",
            "properties": {f"p{i}": {"anyOf": [{"type": "string"}, {"type": "null"}]} for i in range(900)},
            "required": [f"p{i}" for i in range(900)],
        }
    ),
}
