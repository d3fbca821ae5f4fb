"""Reading one section of tool calls, wherever its text is cut into pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ..._data.results import ToolCallDelta
from .parameter_types import ParameterTypes, whole_value
from .scanner import Misspelled, Reading, Scanner
from .tagged_arguments import TaggedArguments
from .tool_format import ToolFormat
from .value_reader import ValueReader

#: Most characters of a tool's name; of an id as a model writes it.
MAX_NAME, MAX_ID = 64, 128

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_ID = re.compile(r"[^\s<>\[\]{}\"'\ud800-\udfff]+")
_IDENTIFIER = re.compile(r"\w+")
_DIGITS = re.compile(r"[0-9]+")
_ARGUMENTS_KEYS = frozenset({"arguments", "parameters"})


@dataclass(slots=True)
class _PartialCall:
    """A call that is being read.

    Attributes:
        waits: whether nothing of the call is given before its end, as its id may follow.
        name: the name of the tool, once it is known.
        id: the call's id, as the model writes it.
        begun: whether its arguments have begun.
        given: whether its first part was given.
        pieces: the arguments' JSON text that was not given yet.
    """

    waits: bool
    name: str = ""
    id: str = ""
    begun: bool = False
    given: bool = False
    pieces: list[str] = field(default_factory=list)


class SectionReader:
    """Reads a section of tool calls, from right after one of the texts with which sections begin.

    A call is given in parts as soon as its name is sure, and its arguments have begun. A call that is misspelled
    later, or breaks off, remains a call. Its arguments are then the beginning of a JSON text, which no reader of
    JSON accepts. A call that is misspelled before is none.

    Args:
        format: how the model spells calls.
        opened: the one of `ToolFormat.opens` that was found.
        types: what is known of the tools.

    Attributes:
        ended: whether the section is complete, or not well-formed.
        failed: whether the section is not well-formed; calls that were given remain calls.
        rest: what follows the section. Of one that is not well-formed, it begins with all that is part of no call,
            but for `opened` and what follows that up to the first call.
    """

    def __init__(self, format: ToolFormat, opened: str, types: ParameterTypes) -> None:
        self._format, self._types = format, types
        self._source = Scanner()
        self._call = _PartialCall(waits=False)
        self._count = 0
        self._deltas: list[ToolCallDelta] = []
        self._read = self._reader_of_calls()
        self._reading = self._section(opened)
        if opened == "{":
            # The opening is a part of the call.
            self._source.add(opened)
        self.ended = self.failed = False
        self.rest = ""

    def feed(self, text: str) -> list[ToolCallDelta]:
        """Take the next piece of the text; what it added to calls, which are counted from 0 in each section."""
        self._source.add(text)
        return self._advance()

    def finish(self) -> list[ToolCallDelta]:
        """What was held back, now that nothing follows; the section has ended then."""
        self._source.final = True
        return self._advance()

    def _advance(self) -> list[ToolCallDelta]:
        try:
            if not self.ended:
                next(self._reading)
        except StopIteration:
            self._end(self._source.rest)
        except Misspelled:
            self.failed = True
            self._end(self._source.kept + self._source.rest)
        self._give()
        found, self._deltas = self._deltas, []
        return found

    def _end(self, rest: str) -> None:
        self.ended, self.rest = True, rest

    # --- the section

    def _section(self, opened: str) -> Reading[None]:
        self._source.keep()
        yield from self._opening(opened)
        while True:
            self._call = _PartialCall(waits=self._format.id_last)
            if not (yield from self._read()):
                return
            self._give()
            self._source.keep()
            yield from self._close_call()
            if not (yield from self._another()):
                return

    def _opening(self, opened: str) -> Reading[None]:
        """Read what follows `opened` up to the first call."""
        form = self._format
        if opened == "{" or (form.call_open and opened.endswith(form.call_open)):
            return
        bracket = "[" if form.kind in ("array", "pythonic") else ""
        whole = form.section_open + bracket + form.call_open
        place = whole.find(opened)
        yield from self._expect(whole[place + len(opened) :] if place >= 0 else bracket + form.call_open)

    def _close_call(self) -> Reading[None]:
        """Read what stands after a call, as far as it is there."""
        marks = self._format.call_close.split()
        # The reader of tagged arguments has read the first of these.
        for mark in marks[1:] if self._format.kind == "tagged" else marks:
            if (yield from self._source.mark([mark])) is None:
                return

    def _another(self) -> Reading[bool]:
        """Read what stands between two calls, or after the last one; whether another call follows."""
        form = self._format
        if form.kind in ("array", "pythonic"):
            char = yield from self._source.after_space()
            if char == ",":
                self._source.skip()
                yield from self._expect(form.call_open)
                return True
            if char == "]":
                self._source.skip()
        if not form.section_close.strip():
            return False
        marks = [form.separator + form.call_open, form.call_open, form.section_close]
        found = yield from self._source.mark(mark for mark in marks if mark.strip())
        if found is None and not form.call_open.strip() and form.kind == "object":
            return (yield from self._source.peek()) == "{"
        return found is not None and found != form.section_close

    def _expect(self, mark: str) -> Reading[None]:
        if mark.strip() and (yield from self._source.mark([mark])) is None:
            raise Misspelled

    # --- what is known of a call

    def _write(self, text: str) -> None:
        self._call.pieces.append(text)

    def _begin_arguments(self) -> None:
        """The arguments begin: a call without name gets it later."""
        self._call.begun = True
        if self._call.name and not self._call.waits:
            self._source.forget()

    def _set_name(self, name: str) -> None:
        """Take a name, if it can be one."""
        if not 0 < len(name) <= MAX_NAME or _NAME.fullmatch(name) is None or self._call.name:
            raise Misspelled
        if self._format.at_start and self._types.names and name not in self._types.names:
            raise Misspelled
        self._call.name = name

    def _end_arguments(self) -> None:
        """The call is complete."""
        if not self._call.name:
            raise Misspelled
        if not self._call.begun:
            self._write("{}")
            self._begin_arguments()
        self._call.waits = False

    def _give(self) -> None:
        """Give what is sure of the call, and was not given yet."""
        call = self._call
        if not call.name or not call.begun or call.waits:
            return
        arguments = "".join(call.pieces)
        call.pieces.clear()
        if not call.given:
            call.given = True
            self._deltas.append(ToolCallDelta(self._count, call.id, call.name, arguments))
            self._count += 1
        elif arguments:
            self._deltas.append(ToolCallDelta(self._count - 1, arguments=arguments))

    # --- one call: each of these reads one, and says whether there was one

    def _reader_of_calls(self) -> Callable[[], Reading[bool]]:
        return {
            "object": self._object,
            "array": self._object,
            "named": self._named,
            "tagged": self._named,
            "pythonic": self._pythonic,
        }[self._format.kind]

    def _object(self) -> Reading[bool]:
        yield from self._expect("{")
        first = True
        while (char := (yield from self._source.after_space())) != "}" or first:
            if not first:
                if char != ",":
                    raise Misspelled
                self._source.skip()
            first = False
            yield from self._member((yield from self._key()))
        self._source.skip()
        self._end_arguments()
        return True

    def _key(self) -> Reading[str]:
        parts: list[str] = []
        yield from ValueReader(self._source, parts.append).key()
        return str(json.loads("".join(parts)[:-2]))

    def _member(self, key: str) -> Reading[None]:
        """Read what stands under a key of a call that is an object."""
        form = self._format
        if not form.name_key:
            self._set_name(key)
            yield from self._arguments()
        elif key in (form.name_key, "name"):
            self._set_name((yield from self._text()))
        elif key == form.arguments_key or key in _ARGUMENTS_KEYS:
            yield from self._arguments()
        elif form.id_key and key == form.id_key:
            call_id = yield from self._text()
            # A call that is given before its id is known has none: where the text is cut must not matter.
            if self._call.waits or not self._call.begun:
                self._call.id = call_id
        elif form.at_start and key != "type":
            # An answer may be an object, too. This one is no call.
            raise Misspelled
        else:
            yield from ValueReader(self._source, lambda _: None).value()

    def _text(self) -> Reading[str]:
        """Read a string or a number; its text."""
        parts: list[str] = []
        yield from ValueReader(self._source, parts.append).value()
        text = "".join(parts)
        return str(json.loads(text)) if text.startswith('"') else text

    def _arguments(self) -> Reading[None]:
        """Read arguments that are an object, or JSON text of one in a string."""
        if self._call.begun:
            raise Misspelled
        form = self._format
        char = yield from self._source.after_space()
        if char == "{":
            self._begin_arguments()
            yield from ValueReader(self._source, self._write, form.quote, form.bare_keys).value()
            return
        text = yield from self._text()
        found = "{}" if not text.strip() or text == "null" else whole_value(text)
        if found is None or not found.startswith("{"):
            raise Misspelled
        self._write(found)
        self._begin_arguments()

    def _named(self) -> Reading[bool]:
        form, source = self._format, self._source
        if form.id_place == "before":
            yield from source.after_space()
            self._call.id = yield from source.run(_ID, MAX_ID)
            yield from self._expect(form.id_mark)
        yield from source.after_space()
        name = yield from source.run(_NAME, MAX_NAME + len(form.id_prefix))
        if form.id_place == "within":
            name = yield from self._name_with_id(name)
        if form.answer_name and name == form.answer_name:
            yield from self._line_break()
            return False
        self._set_name(name)
        if form.id_place == "after" and (yield from source.mark([form.id_mark])) is not None:
            number = yield from source.run(_ID, MAX_ID)
            self._call.id = number if form.first_number is None else ""
        if (yield from source.mark(form.name_closes)) is None:
            raise Misspelled
        if form.name_end:
            yield from self._expect(name + form.name_end)
        if form.kind == "tagged":
            tagged = TaggedArguments(form, self._types, source, self._write)
            yield from tagged.read(name, self._begin_arguments)
        elif (yield from source.after_space()) == "{":
            yield from self._arguments()
        else:
            raise Misspelled
        self._end_arguments()
        return True

    def _name_with_id(self, text: str) -> Reading[str]:
        """Read the number of a call whose id holds its name; the name."""
        if (yield from self._source.starts(self._format.id_mark)):
            number = yield from self._source.run(_DIGITS, MAX_ID)
            self._call.id = text + self._format.id_mark + number
        return text.removeprefix(self._format.id_prefix)

    def _line_break(self) -> Reading[None]:
        """Read a line break, if there is one."""
        yield from self._source.starts("\n")

    def _pythonic(self) -> Reading[bool]:
        source = self._source
        yield from source.after_space()
        self._set_name((yield from source.run(_NAME, MAX_NAME)))
        yield from self._expect("(")
        self._write("{")
        self._begin_arguments()
        first = True
        while (yield from source.after_space()) != ")":
            if not first:
                self._write(", ")
            first = False
            key = yield from source.run(_IDENTIFIER, MAX_NAME)
            yield from self._expect("=")
            if not key:
                raise Misspelled
            self._write(f'"{key}": ')
            yield from ValueReader(source, self._write).value()
            if (yield from source.after_space()) == ",":
                source.skip()
            elif (yield from source.peek()) != ")":
                raise Misspelled
        source.skip()
        self._write("}")
        self._end_arguments()
        return True
