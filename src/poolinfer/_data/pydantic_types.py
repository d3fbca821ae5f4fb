"""Types that pydantic reads. Imported only where a caller gives such a type."""

from __future__ import annotations

from typing import Any

from pydantic import PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

#: What llguidance knows of the formats that pydantic writes.
_FORMATS = frozenset(
    ("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid")
)


class _Schemas(GenerateJsonSchema):
    """pydantic's schemas, without what no engine can enforce and what pydantic sees to when it reads data."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """A number: texts would be allowed, too, by an expression that looks ahead."""
        found = super().decimal_schema(schema)
        return found["anyOf"][0] if "anyOf" in found else found

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        """A schema without ``uniqueItems``, which sets have, and without formats that engines do not know."""
        found = super().generate_inner(schema)
        unknown = {"uniqueItems"} if found.get("format") in _FORMATS else {"uniqueItems", "format"}
        return {key: value for key, value in found.items() if key not in unknown}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """An object that has nothing but the model's fields, unless the model keeps what it does not know."""
        return _closed(super().model_schema(schema))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """An object that has nothing but the dataclass's fields."""
        return _closed(super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        """An object that has nothing but the TypedDict's fields."""
        return _closed(super().typed_dict_schema(schema))


def _closed(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {"additionalProperties": False, **schema} if "properties" in schema else schema


class PydanticType:
    """A type that pydantic reads.

    Args:
        kind: the type.

    Raises:
        TypeError: the type means no JSON schema.
        NameError: something that the type names cannot be found.
    """

    def __init__(self, kind: Any) -> None:
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
            self._schema = self._adapter.json_schema(schema_generator=_Schemas)
        except PydanticUserError as error:
            raise TypeError(error.message) from error

    def schema(self) -> dict[str, Any]:
        """The JSON schema that the type means."""
        return self._schema

    def parse(self, text: str) -> Any:
        """The instance that a JSON text means.

        Raises:
            ValueError: the text is no JSON, or does not fit.
        """
        return self._adapter.validate_json(text)
