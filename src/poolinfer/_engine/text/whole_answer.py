"""Reading all tool calls of an answer that is complete."""

from __future__ import annotations

from dataclasses import replace

from ..._data.results import ToolCall
from .finder import Automaton, Finder
from .parameter_types import ParameterTypes
from .section_reader import SectionReader
from .tool_format import ToolFormat


def read_calls(form: ToolFormat, text: str, types: ParameterTypes) -> list[ToolCall]:
    """All calls of a whole answer, with the ids that the model wrote."""
    found: list[ToolCall] = []
    marks = Automaton(form.opens, longest=True)
    text = form.begun + text
    while True:
        finder = Finder(marks)
        finder.feed(text)
        finder.finish()
        if not finder.found:
            return found
        reader = SectionReader(form, finder.string, types)
        calls: dict[int, ToolCall] = {}
        for delta in reader.feed(finder.rest) + reader.finish():
            known = calls.get(delta.index, ToolCall(delta.id, delta.name, ""))
            calls[delta.index] = replace(known, arguments=known.arguments + delta.arguments)
        found += calls.values()
        text = reader.rest if calls or not reader.failed else finder.rest
