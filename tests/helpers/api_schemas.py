"""JSON schemas in the shapes of real APIs, each with instances: some written down, any number made from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WORDS = (
    *("id", "name", "status", "created", "amount", "currency", "email", "items"),
    *("total", "address", "city", "note", "tags", "owner", "size", "unit"),
)


@dataclass(frozen=True)
class ApiSchema:
    """A schema, and what it allows."""

    name: str
    schema: dict[str, Any]
    instances: tuple[Any, ...]


def api_schemas(n: int, seed: int = 12) -> Iterator[ApiSchema]:
    """So many schemas: the written ones first, then made ones."""
    for number in range(n):
        if number < len(WRITTEN):
            yield WRITTEN[number]
        else:
            yield made(random.Random(f"{seed}/{number}"), f"made-{number}")


def made(rng: random.Random, name: str) -> ApiSchema:
    """A schema made of the parts that APIs use."""
    maker = _Maker(rng)
    schema = maker.obj(3)
    if maker.defs:
        schema["$defs"] = maker.defs
    return ApiSchema(name, schema, tuple(maker.instance(schema, 3) for _ in range(3)))


class _Maker:
    """Makes schemas, and instances of the schemas that it made."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.defs: dict[str, Any] = {}

    def any(self, depth: int) -> dict[str, Any]:
        leaves = [self.text, self.number, self.boolean, self.enum, self.const, self.formatted, self.pattern]
        inner = [self.obj, self.array, self.tuple, self.union, self.nullable, self.map, self.tree]
        if depth <= 0 or self.rng.random() < 0.55:
            return self.rng.choice(leaves)()
        return self.rng.choice(inner)(depth - 1)

    def obj(self, depth: int) -> dict[str, Any]:
        names = self.rng.sample(WORDS, self.rng.randint(1, 6))
        schema: dict[str, Any] = {"type": "object", "properties": {name: self.any(depth) for name in names}}
        required = [name for name in names if self.rng.random() < 0.6]
        if required:
            schema["required"] = required
        if self.rng.random() < 0.8:
            schema["additionalProperties"] = False
        if self.rng.random() < 0.3:
            schema |= {"title": "Thing", "description": "As an API describes it."}
        return schema

    def array(self, depth: int) -> dict[str, Any]:
        schema = {"type": "array", "items": self.any(depth)}
        if self.rng.random() < 0.5:
            schema |= {"minItems": self.rng.randint(0, 2), "maxItems": self.rng.randint(2, 5)}
        return schema

    def tuple(self, depth: int) -> dict[str, Any]:
        items = [self.any(depth) for _ in range(self.rng.randint(1, 3))]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}

    def union(self, depth: int) -> dict[str, Any]:
        return {"anyOf": [self.any(depth) for _ in range(self.rng.randint(2, 3))]}

    def nullable(self, depth: int) -> dict[str, Any]:
        if self.rng.random() < 0.5:
            return {"type": [self.rng.choice(("string", "integer", "boolean")), "null"]}
        return {"anyOf": [self.any(depth), {"type": "null"}]}

    def map(self, depth: int) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.any(depth)}

    def tree(self, depth: int) -> dict[str, Any]:
        """A type that holds itself, and is defined apart."""
        name = f"node{len(self.defs)}"
        self.defs[name] = {}
        children = {"type": "array", "items": {"$ref": f"#/$defs/{name}"}, "maxItems": 3}
        self.defs[name] = {
            "type": "object",
            "properties": {"value": self.any(min(depth, 1)), "children": children},
            "required": ["value"],
            "additionalProperties": False,
        }
        return {"$ref": f"#/$defs/{name}"}

    def text(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        if self.rng.random() < 0.4:
            schema |= {
                "minLength": self.rng.randint(0, 3),
                "maxLength": self.rng.choice((8, 64, 255, 65_536)),
            }
        return schema

    def number(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": self.rng.choice(("integer", "number"))}
        if self.rng.random() < 0.5:
            schema |= {"minimum": self.rng.randint(-100, 0), "maximum": self.rng.randint(1, 10_000)}
        elif self.rng.random() < 0.3:
            schema |= {"type": "integer", "multipleOf": self.rng.choice((5, 10, 12, 100))}
        elif self.rng.random() < 0.3:
            schema["exclusiveMinimum"] = 0
        return schema

    def boolean(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def enum(self) -> dict[str, Any]:
        return {"enum": self.rng.sample(["open", "closed", "draft", "a b", "ü", 1, 2.5, None, True], 3)}

    def const(self) -> dict[str, Any]:
        return {"const": self.rng.choice(("v1", 3, True, None))}

    def formatted(self) -> dict[str, Any]:
        return {"type": "string", "format": self.rng.choice(tuple(FORMATS))}

    def pattern(self) -> dict[str, Any]:
        return {"type": "string", "pattern": self.rng.choice(tuple(PATTERNS))}

    def instance(self, schema: dict[str, Any], depth: int) -> Any:
        """A value that a schema of ours allows."""
        if "$ref" in schema:
            return self.instance(self.defs[schema["$ref"].rpartition("/")[2]], depth - 1)
        if "anyOf" in schema:
            return self.instance(self.rng.choice(schema["anyOf"]), depth)
        if "enum" in schema or "const" in schema:
            return self.rng.choice(schema.get("enum", [schema.get("const")]))
        kind = schema["type"]
        kind = self.rng.choice(kind) if isinstance(kind, list) else kind
        return getattr(self, f"a_{kind}")(schema, depth)

    def a_object(self, schema: dict[str, Any], depth: int) -> Any:
        required = schema.get("required", ())
        found = {
            name: self.instance(one, depth - 1)
            for name, one in schema.get("properties", {}).items()
            if name in required or (depth > 0 and self.rng.random() < 0.5)
        }
        if isinstance(schema.get("additionalProperties"), dict):
            found["x-1"] = self.instance(schema["additionalProperties"], depth - 1)
        return found

    def a_array(self, schema: dict[str, Any], depth: int) -> Any:
        if "prefixItems" in schema:
            return [self.instance(one, depth - 1) for one in schema["prefixItems"]]
        least, most = schema.get("minItems", 0), schema.get("maxItems", 2)
        n = self.rng.randint(least, most) if depth > 0 else least
        return [self.instance(schema["items"], depth - 1) for _ in range(n)]

    def a_string(self, schema: dict[str, Any], _: int) -> Any:
        if "format" in schema:
            return FORMATS[schema["format"]]
        if "pattern" in schema:
            return PATTERNS[schema["pattern"]]
        text = self.rng.choice(("", "ab", 'a "quoted" word', "größer\n", "日本語", "x" * 8, "a\\b", "\t"))
        return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), "z")

    def a_integer(self, schema: dict[str, Any], _: int) -> Any:
        if "multipleOf" in schema:
            return schema["multipleOf"] * self.rng.randint(0, 40)
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1001) + 1)
        return self.rng.randint(low, schema.get("maximum", 10**9))

    def a_number(self, schema: dict[str, Any], depth: int) -> Any:
        whole = self.a_integer(schema, depth)
        return whole if self.rng.random() < 0.5 or whole == schema.get("maximum") else whole + 0.5

    def a_boolean(self, *_: Any) -> Any:
        return self.rng.random() < 0.5

    def a_null(self, *_: Any) -> Any:
        return None


FORMATS = {
    "date": "2026-11-22",
    "date-time": "2026-11-22T01:02:03Z",
    "time": "01:02:03Z",
    "email": "ada@example.org",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "ipv4": "192.0.2.1",
    "hostname": "www.example.org",
    "uri": "https://example.org/a?b=c",
    "duration": "P1DT2H",
}
PATTERNS = {
    "^[A-Z]{3}$": "EUR",
    "^[0-9]{4}-[0-9]{2}$": "2026-11",
    "^(?:high|low)_[a-z]+$": "low_key",
    r"^\+?[0-9 ]{5,15}$": "+49 30 1234",
    "^[a-f0-9]{40}$": "0123456789abcdef0123456789abcdef01234567",
    "^#": "#tag",
}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


_TEXT, _INT, _BOOL = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_MONEY = _object(
    "amount currency",
    amount={"type": "integer", "minimum": 0},
    currency={"type": "string", "pattern": "^[A-Z]{3}$"},
)
WRITTEN = (
    ApiSchema(
        "issue of a code host",
        {
            **_object(
                "id title state labels",
                id=_INT,
                title={"type": "string", "maxLength": 256},
                state={"enum": ["open", "closed"]},
                labels={"type": "array", "items": {"anyOf": [_TEXT, {"$ref": "#/$defs/label"}]}},
                assignee={"anyOf": [{"$ref": "#/$defs/user"}, {"type": "null"}]},
                created_at={"type": "string", "format": "date-time"},
            ),
            "$defs": {
                "label": _object("name", name=_TEXT, color={"type": "string", "pattern": "^[0-9a-f]{6}$"}),
                "user": _object("login", login=_TEXT, site_admin=_BOOL),
            },
        },
        (
            {
                "id": 1,
                "title": "It fails",
                "state": "open",
                "labels": ["bug", {"name": "ui", "color": "ff00aa"}],
            },
            {"id": 2, "title": "", "state": "closed", "labels": [], "assignee": None},
        ),
    ),
    ApiSchema(
        "charge of a payment service",
        _object(
            "id money status",
            id={"type": "string", "pattern": "^ch_[A-Za-z0-9]{8,24}$"},
            money=_MONEY,
            status={"type": "string", "enum": ["succeeded", "pending", "failed"]},
            metadata={"type": "object", "additionalProperties": _TEXT},
            refunds={"type": "array", "items": _MONEY, "maxItems": 10},
        ),
        (
            {
                "id": "ch_abcDEF12",
                "money": {"amount": 5, "currency": "EUR"},
                "status": "pending",
                "metadata": {"a": "b"},
            },
        ),
    ),
    ApiSchema(
        "place on a map",
        _object(
            "type geometry",
            type={"const": "Feature"},
            geometry={
                "oneOf": [
                    _object(
                        "type coordinates", type={"const": "Point"}, coordinates={"$ref": "#/$defs/position"}
                    ),
                    _object(
                        "type coordinates",
                        type={"const": "LineString"},
                        coordinates={"type": "array", "items": {"$ref": "#/$defs/position"}, "minItems": 2},
                    ),
                ]
            },
            properties={"type": ["object", "null"]},
        )
        | {
            "$defs": {
                "position": {
                    "type": "array",
                    "prefixItems": [{"type": "number"}] * 2,
                    "items": False,
                    "minItems": 2,
                }
            }
        },
        (
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [13.4, 52.5]},
                "properties": None,
            },
            {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[1, 2], [3.5, -4]]}},
        ),
    ),
    ApiSchema(
        "comments that answer each other",
        {
            "$defs": {
                "comment": _object(
                    "author text",
                    author=_TEXT,
                    text={"type": "string", "minLength": 1},
                    replies={"type": "array", "items": {"$ref": "#/$defs/comment"}},
                )
            },
            "$ref": "#/$defs/comment",
        },
        ({"author": "a", "text": "b", "replies": [{"author": "c", "text": "d", "replies": []}]},),
    ),
    ApiSchema(
        "events of several kinds",
        {
            "type": "array",
            "items": {
                "anyOf": [
                    _object("kind at", kind={"const": "login"}, at={"type": "string", "format": "date-time"}),
                    _object(
                        "kind path",
                        kind={"const": "view"},
                        path=_TEXT,
                        seconds={"type": "number", "minimum": 0},
                    ),
                    _object(
                        "kind items",
                        kind={"const": "buy"},
                        items={"type": "array", "items": _MONEY, "minItems": 1},
                    ),
                ]
            },
            "maxItems": 20,
        },
        (
            [],
            [
                {"kind": "view", "path": "/a", "seconds": 1.5},
                {"kind": "buy", "items": [{"amount": 0, "currency": "USD"}]},
            ],
        ),
    ),
    ApiSchema(
        "what a model extracts from an invoice",
        _object(
            "number date lines total",
            number=_TEXT,
            date={"type": "string", "format": "date"},
            lines={
                "type": "array",
                "items": _object(
                    "text quantity price",
                    text=_TEXT,
                    quantity={"type": "number", "exclusiveMinimum": 0},
                    price={"type": "number", "minimum": 0, "maximum": 1_000_000},
                ),
            },
            total={"type": "number"},
            paid={"type": ["boolean", "null"], "default": None},
        ),
        (
            {
                "number": "7",
                "date": "2026-01-31",
                "lines": [{"text": "x", "quantity": 2, "price": 3.5}],
                "total": 7,
            },
        ),
    ),
)
