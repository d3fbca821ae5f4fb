"""Types of answers: the JSON schema that a type means, and the instance of it that an answer means.

The builtin types, ``Literal``, enums, unions, dataclasses and TypedDicts are read here, nested in each other as one
likes. Where a type has anything else in it, pydantic reads the whole of it. Only then is pydantic imported.
"""

from __future__ import annotations

import enum
import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, NoReturn, Protocol, Union, get_args, get_origin

from typing_extensions import NotRequired, Required, get_type_hints, is_typeddict

from .errors import InvalidRequest, ParseError
from .type_forms import (
    AnyForm,
    Building,
    ChoiceForm,
    Definitions,
    DictForm,
    FieldsForm,
    Form,
    ListForm,
    NamedField,
    ScalarForm,
    TupleForm,
    UnionForm,
    build,
)

_FIELD = "response_format"
_SCALARS: Mapping[Any, Form] = {
    str: ScalarForm(str, "string"),
    int: ScalarForm(int, "integer"),
    float: ScalarForm(float, "number"),
    bool: ScalarForm(bool, "boolean"),
    type(None): ScalarForm(type(None), "null"),
    None: ScalarForm(type(None), "null"),
    Any: AnyForm(),
    object: AnyForm(),
}
_PLAIN = (str, int, bool, type(None))


def is_type(kind: object) -> bool:
    """Whether something is a type, as annotations have them."""
    return (
        isinstance(kind, type)
        or kind is Any
        or get_origin(kind) is not None
        or type(kind).__name__ in ("NewType", "TypeAliasType")
    )


def schema_of_type(kind: Any) -> dict[str, Any]:
    """The JSON schema that a type means.

    Raises:
        InvalidRequest: only pydantic can read the type, and pydantic is not installed; or no schema means the type.
    """
    return _answer_type(kind).schema()


def parse_answer(text: str, kind: Any) -> Any:
    """The data that an answer means: as JSON has it, or an instance of a type.

    Args:
        text: the answer.
        kind: the type; None for what JSON has.

    Raises:
        ParseError: the answer is no JSON, or does not fit the type.
    """
    try:
        return _decoded(text) if kind is None else _answer_type(kind).parse(text)
    except InvalidRequest:
        raise
    except RecursionError:
        raise ParseError("the answer cannot be parsed: it is nested too deeply", partial=text) from None
    except ValueError as error:
        raise ParseError(f"the answer cannot be parsed: {error}", partial=text) from error


class _AnswerType(Protocol):
    """What is known of a type."""

    def schema(self) -> dict[str, Any]: ...

    def parse(self, text: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class _OwnType:
    """A type that is read here."""

    form: Form

    def schema(self) -> dict[str, Any]:
        definitions: Definitions = {}
        schema = self.form.schema(definitions)
        return {**schema, "$defs": definitions} if definitions else schema

    def parse(self, text: str) -> Any:
        return build(self.form, _decoded(text), "the answer", Building())


def _decoded(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _answer_type(kind: Any) -> _AnswerType:
    try:
        # Unions in another order are equal, but not read alike.
        return _cached(kind, repr(kind))
    except TypeError:  # a type that has no hash
        return _read(kind)


@lru_cache(maxsize=256)
def _cached(kind: Any, _: str) -> _AnswerType:
    return _read(kind)


class _NotOurs(Exception):
    """A type is not one of those that are read here."""


def _read(kind: Any) -> _AnswerType:
    try:
        return _OwnType(_Reader().form(kind))
    except _NotOurs as error:
        reason = str(error)
    try:
        from .pydantic_types import PydanticType
    except ImportError:
        raise InvalidRequest(
            f"{_FIELD} has {reason}, which only pydantic can read: pip install 'poolinfer[pydantic]', or use"
            " dataclasses, TypedDicts, enums and builtin types",
            field=_FIELD,
        ) from None
    try:
        return PydanticType(kind)
    except (TypeError, NameError) as error:
        raise InvalidRequest(
            f"{_FIELD} has {reason}, which means no JSON schema: give another type, or a schema"
            f" ({str(error)[:120]})",
            field=_FIELD,
        ) from error


class _Reader:
    """Reads one type, with all types that it is made of."""

    def __init__(self) -> None:
        self._found: dict[Any, FieldsForm] = {}
        self._names: set[str] = set()

    def form(self, kind: Any) -> Form:
        """The form of a type.

        Raises:
            _NotOurs: something in it is not read here.
        """
        kind = getattr(kind, "__supertype__", kind)  # of a NewType
        if (isinstance(kind, type) or kind is Any or kind is None) and get_origin(kind) is None:
            return self._plain(kind)
        origin, args = get_origin(kind), get_args(kind)
        if origin is Annotated and all(isinstance(said, str) for said in args[1:]):
            return self.form(args[0])
        if origin in (Union, types.UnionType):
            return self._union(args)
        if origin is Literal and all(type(value) in _PLAIN for value in args):
            return ChoiceForm(args)
        if origin in (list, Sequence):
            return ListForm(self.form(args[0]))
        if origin in (dict, Mapping) and args[0] is str:
            return DictForm(self.form(args[1]))
        if origin is tuple:
            alike = len(args) == 2 and args[1] is ...
            return TupleForm(tuple([self.form(item) for item in args[: 1 if alike else None]]), alike)
        raise _NotOurs(_named(kind))

    def _plain(self, kind: Any) -> Form:
        """The form of a type without arguments."""
        if kind in _SCALARS:
            return _SCALARS[kind]
        if kind in (list, dict):
            return ListForm(AnyForm()) if kind is list else DictForm(AnyForm())
        if issubclass(kind, enum.Enum):
            values = tuple(one.value for one in kind)
            if values and all(type(value) in _PLAIN for value in values):
                return ChoiceForm(values, kind)
        elif is_typeddict(kind):
            return self._fields(kind, dict, kind.__required_keys__)
        elif is_dataclass(kind) and not hasattr(kind, "__pydantic_core_schema__"):
            needed = {
                one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING
            }
            return self._fields(kind, kind, needed, {one.name for one in fields(kind) if one.init})
        raise _NotOurs(_named(kind))

    def _fields(self, kind: Any, make: Any, needed: Any, known: set[str] | None = None) -> Form:
        """The form of a class with fields.

        Args:
            kind: the class.
            make: makes an instance of fields given by name.
            needed: the names of fields without a default.
            known: the names of fields that can be given; None for all.
        """
        if kind in self._found:
            return self._found[kind]
        name = kind.__name__
        while name in self._names:
            name += "_"
        self._names.add(name)
        form = self._found[kind] = FieldsForm(name, make)
        try:
            hints = get_type_hints(kind, include_extras=True)
        except NameError as error:
            raise InvalidRequest(
                f"{_FIELD}: a type that {name} names cannot be found ({error}): define it in the module, not in a"
                " function",
                field=_FIELD,
            ) from error
        form.fields = {
            field: self._field(hint, field in needed)
            for field, hint in hints.items()
            if known is None or field in known
        }
        return form

    def _field(self, hint: Any, required: bool) -> NamedField:
        said: list[str] = []
        while (origin := get_origin(hint)) in (Annotated, Required, NotRequired):
            hint, *more = get_args(hint)
            if origin is not Annotated:
                required = origin is Required
            elif not all(isinstance(one, str) for one in more):
                raise _NotOurs(f"Annotated[..., {_named(more[0])}]")
            said += more
        return NamedField(self.form(hint), required, " ".join(said))

    def _union(self, members: tuple[Any, ...]) -> Form:
        # An int is a float, too, so floats come last.
        return UnionForm(
            tuple([self.form(member) for member in sorted(members, key=lambda one: one is float)])
        )


def _named(kind: Any) -> str:
    plain = isinstance(kind, type) and get_origin(kind) is None
    return repr(kind.__name__ if plain else repr(kind))[:60]
