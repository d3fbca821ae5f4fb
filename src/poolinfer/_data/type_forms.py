"""What types are made of, each part with its JSON schema and with how it is built from JSON data."""

from __future__ import annotations

import math
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

#: Parts that one answer may have. Unions are tried member by member, which could take for ever where they nest.
_MOST_PARTS = 250_000

#: Of each type that has fields: the name of its schema, and the schema once it is made.
Definitions: TypeAlias = dict[str, dict[str, Any]]


class Misfit(ValueError):
    """JSON data does not fit a type."""


@dataclass(slots=True)
class Building:
    """One answer as it is being built.

    Attributes:
        left: how many more parts may be tried.
    """

    left: int = _MOST_PARTS

    def refuse(self, path: str, value: object, wanted: str) -> NoReturn:
        """Raise `Misfit` for a value."""
        raise Misfit(f"{path} is {reprlib.repr(value)}: not {wanted}")


class Form(ABC):
    """A part of a type."""

    __slots__ = ()

    @abstractmethod
    def schema(self, definitions: Definitions) -> dict[str, Any]:
        """The JSON schema of this part, which may refer to definitions, and may add some."""

    @abstractmethod
    def build(self, value: Any, path: str, building: Building) -> Any:
        """The instance that JSON data means.

        Args:
            value: the data.
            path: where it stands in the answer, for messages.
            building: the answer that is being built.

        Raises:
            Misfit: the data does not fit.
        """


@dataclass(frozen=True, slots=True)
class AnyForm(Form):
    """Any JSON value."""

    def schema(self, definitions: Definitions) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def build(self, value: Any, path: str, building: Building) -> Any:  # noqa: ARG002
        return value


@dataclass(frozen=True, slots=True)
class ScalarForm(Form):
    """A str, an int, a float, a bool or None.

    Attributes:
        kind: the type.
        name: what JSON schemas call it.
    """

    kind: type
    name: str

    def schema(self, definitions: Definitions) -> dict[str, Any]:  # noqa: ARG002
        return {"type": self.name}

    def build(self, value: Any, path: str, building: Building) -> Any:
        if self.kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**1000 else math.inf
        if type(value) is not self.kind or value in (math.inf, -math.inf):
            building.refuse(path, value, f"of type {self.name}")
        return value


@dataclass(frozen=True, slots=True)
class ChoiceForm(Form):
    """One of several values: of a ``Literal``, or of an enum.

    Attributes:
        values: the values, as JSON has them.
        kind: makes the instance of a value.
    """

    values: tuple[Any, ...]
    kind: Callable[[Any], Any] | None = None

    def schema(self, definitions: Definitions) -> dict[str, Any]:  # noqa: ARG002
        return {"enum": list(self.values)}

    def build(self, value: Any, path: str, building: Building) -> Any:
        # 1, 1.0 and True are equal, and not the same.
        if not any(value == one and type(value) is type(one) for one in self.values):
            building.refuse(path, value, f"one of {', '.join(map(repr, self.values[:8]))}")
        return value if self.kind is None else self.kind(value)


@dataclass(frozen=True, slots=True)
class ListForm(Form):
    """A list, whose items are alike."""

    item: Form

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(definitions)}

    def build(self, value: Any, path: str, building: Building) -> Any:
        if not isinstance(value, list):
            building.refuse(path, value, "a list")
        return [build(self.item, item, f"{path}[{i}]", building) for i, item in enumerate(value)]


@dataclass(frozen=True, slots=True)
class TupleForm(Form):
    """A tuple: of items that are alike, or of items each of its own kind.

    Attributes:
        items: what the items are.
        alike: whether there may be any number of items like the first.
    """

    items: tuple[Form, ...]
    alike: bool

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        schemas = [item.schema(definitions) for item in self.items]
        if self.alike:
            return {"type": "array", "items": schemas[0]}
        n = len(schemas)
        return {"type": "array", "prefixItems": schemas, "items": False, "minItems": n, "maxItems": n}

    def build(self, value: Any, path: str, building: Building) -> Any:
        if not isinstance(value, list) or not (self.alike or len(value) == len(self.items)):
            building.refuse(path, value, "a list" if self.alike else f"a list of {len(self.items)} items")
        items = self.items * len(value) if self.alike else self.items
        return tuple([build(items[i], item, f"{path}[{i}]", building) for i, item in enumerate(value)])


@dataclass(frozen=True, slots=True)
class DictForm(Form):
    """A dict of texts to values that are alike."""

    value: Form

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.value.schema(definitions)}

    def build(self, value: Any, path: str, building: Building) -> Any:
        if not isinstance(value, dict):
            building.refuse(path, value, "an object")
        return {key: build(self.value, item, f"{path}.{key}", building) for key, item in value.items()}


@dataclass(frozen=True, slots=True)
class UnionForm(Form):
    """One of several types: the first that fits."""

    members: tuple[Form, ...]

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"anyOf": [member.schema(definitions) for member in self.members]}

    def build(self, value: Any, path: str, building: Building) -> Any:
        misfit = Misfit(f"{path} fits nothing")
        for member in self.members:
            try:
                return build(member, value, path, building)
            except Misfit as error:
                misfit = error
        raise misfit


@dataclass(frozen=True, slots=True)
class NamedField:
    """A field of a dataclass or TypedDict.

    Attributes:
        form: what the field holds.
        required: whether it must be there.
        description: what its annotation says about it, or an empty text.
    """

    form: Form
    required: bool
    description: str = ""


@dataclass(eq=False, slots=True)
class FieldsForm(Form):
    """A dataclass or a TypedDict. It may hold itself, so its fields come after it is made.

    Attributes:
        name: what its schema is called.
        make: makes an instance of its fields, given by name.
        fields: the fields, by name.
    """

    name: str
    make: Callable[..., Any]
    fields: Mapping[str, NamedField] = field(default_factory=dict)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        if self.name not in definitions:
            schema = definitions[self.name] = {"type": "object"}
            schema["properties"] = {
                name: self._property(one, definitions) for name, one in self.fields.items()
            }
            schema["required"] = [name for name, one in self.fields.items() if one.required]
            schema["additionalProperties"] = False
        return {"$ref": f"#/$defs/{self.name}"}

    @staticmethod
    def _property(one: NamedField, definitions: Definitions) -> dict[str, Any]:
        schema = one.form.schema(definitions)
        return {**schema, "description": one.description} if one.description else schema

    def build(self, value: Any, path: str, building: Building) -> Any:
        if not isinstance(value, dict):
            building.refuse(path, value, "an object")
        for name, one in self.fields.items():
            if one.required and name not in value:
                building.refuse(path, value, f"whole: {name} is missing")
        for name in value:
            if name not in self.fields:
                building.refuse(f"{path}.{name}", value[name], f"a field of {self.name}")
        found = {
            name: build(self.fields[name].form, item, f"{path}.{name}", building)
            for name, item in value.items()
        }
        try:
            return self.make(**found)
        except (TypeError, ValueError) as error:
            raise Misfit(f"{path} is refused by {self.name}: {error}") from error


def build(form: Form, value: Any, path: str, building: Building) -> Any:
    """What `Form.build` makes, counted."""
    building.left -= 1
    if building.left < 0:
        raise ValueError(f"the answer has more than {_MOST_PARTS:,} parts to try")
    return form.build(value, path, building)
