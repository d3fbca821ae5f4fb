"""How a model spells its tool calls; frozen plain data, which reader, writer and guide share.

A *section* holds the calls that stand together. This is the order of its parts, where most formats lack some::

    section_open  call_open NAME ... ARGUMENTS call_close  separator  call_open ...  section_close

Texts stand here as the chat template writes them, whitespace included. A reader takes more or less whitespace
around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: The kinds of spellings. An object has name and arguments, and an array holds such objects. A call can also be a
#: name and an object of arguments, or a name and each argument between marks. Or it is written in Python's syntax.
ToolKind: TypeAlias = Literal["object", "array", "named", "tagged", "pythonic"]
#: Where a call's id stands: nowhere, under a key of the object, before the name, after it, or in it (Kimi-K2).
IdPlace: TypeAlias = Literal["none", "key", "before", "after", "within"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """How a model spells its tool calls.

    Attributes:
        kind: how name and arguments are written.
        opens: the texts with which a section may begin, without whitespace around them.
        at_start: whether a section begins only where the answer begins, as its opening is an everyday text (``{``).
        begun: what the prompt has already written of a section (``>>>``), when an answer begins.
        several: whether one answer may hold several calls.
        section_open: what stands before the first call.
        section_close: what stands after the last call.
        call_open: what stands before each call.
        call_close: what stands after each call.
        separator: what stands between two calls.
        name_key: of an object: the key of the name; ``""`` where the name is itself the key of the arguments.
        arguments_key: of an object: the key of the arguments.
        name_closes: what may stand between the name and the arguments, the template's own spelling first.
        name_end: where `name_closes` is followed by the name once more, what follows the name.
        answer_name: a name that stands for no tool: what follows it is answer (``all``).
        id_place: where the id stands.
        id_key: of an object: the key of the id.
        id_last: whether the id follows the arguments.
        id_mark: what stands between name and id, whichever is first.
        id_prefix: with an id that holds the name: what the id has before the name (``functions.``).
        first_number: where ids are numbers of calls in an answer, the first of them; such ids are not given.
        short_ids: whether the template takes no ids but those of nine letters and digits.
        quote: what stands around strings in arguments that are an object, or in Python's syntax.
        bare_keys: whether the keys of such an object stand without quotes.
        key_open: what stands before an argument's key.
        key_close: what stands between the key and a value, where the value is a string.
        key_closes: the same for values of other JSON types, where it differs: pairs of type and text.
        value_close: what stands after a value, up to the next argument.
        value_end: where `value_close` is followed by the key once more, what follows the key.
        item: the name of a list's items where nested values are written as marks within marks; else ``""``.
        cdata: whether a string may also stand between ``<![CDATA[`` and ``]]>``.
        python_values: whether ``True``, ``False`` and ``None`` are written for JSON's constants.
        no_arguments: what stands between the name and `call_close` in a call without arguments.
        offered: whether the template tells the model of the tools.
        rendered: whether the template writes the calls of earlier turns.
    """

    kind: ToolKind
    opens: tuple[str, ...]
    at_start: bool = False
    begun: str = ""
    several: bool = True
    section_open: str = ""
    section_close: str = ""
    call_open: str = ""
    call_close: str = ""
    separator: str = ""
    name_key: str = "name"
    arguments_key: str = "arguments"
    name_closes: tuple[str, ...] = ("",)
    name_end: str = ""
    answer_name: str = ""
    id_place: IdPlace = "none"
    id_key: str = ""
    id_last: bool = False
    id_mark: str = ""
    id_prefix: str = ""
    first_number: int | None = None
    short_ids: bool = False
    quote: str = '"'
    bare_keys: bool = False
    key_open: str = ""
    key_close: str = ""
    key_closes: tuple[tuple[str, str], ...] = ()
    value_close: str = ""
    value_end: str = ""
    item: str = ""
    cdata: bool = False
    python_values: bool = False
    no_arguments: str = ""
    offered: bool = True
    rendered: bool = True


#: Hermes' spelling, which is used where a template does not say how calls are spelled.
HERMES = ToolFormat(
    kind="object",
    opens=("<tool_call>",),
    call_open="<tool_call>\n",
    call_close="\n</tool_call>",
    separator="\n",
    offered=False,
    rendered=False,
)
