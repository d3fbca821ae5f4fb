"""Learning how a model spells its tool calls, by rendering calls with the model's chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...text.parameter_types import ParameterTypes
from ...text.tool_format import HERMES, ToolFormat
from ...text.whole_answer import read_calls
from .call_spellings import learn_named, learn_objects
from .known_tool_formats import KNOWN, KNOWN_WITHOUT_CALLS
from .rendering import Render
from .sample_calls import LONG_ID, NAME, ONE, OTHER, OTHER_NAME, TOOLS, SampleCall, Samples
from .tagged_spellings import learn_pythonic, learn_tagged

_TYPES = ParameterTypes(TOOLS)


def learn_tools(render: Render) -> ToolFormat:
    """How the model of a template spells its tool calls.

    A format that does not read what the template writes is not used. Where a template says nothing, calls are
    spelled as Hermes does.

    Args:
        render: renders the template.
    """
    samples = Samples(render)
    rendered = NAME in (samples.turn("", ONE) or "")
    found = _known(KNOWN, render) or (_learned(samples) if rendered else _known(KNOWN_WITHOUT_CALLS, render))
    # A template that reads calls may still refuse a sample call, or write it in a way that is not understood.
    reads_calls = "tool_calls" in render.source
    if found is None:
        return replace(HERMES, offered=samples.offered, rendered=reads_calls)
    if found.at_start and "<|python_tag|>" in render.source:
        found = replace(found, opens=(*found.opens, "<|python_tag|>"))
    if found.kind == "tagged" and "<![CDATA[" in render.source:
        found = replace(found, cdata=True)
    short_ids = rendered and samples.turn("", SampleCall(id=LONG_ID)) is None
    return replace(found, offered=samples.offered, rendered=reads_calls, short_ids=short_ids)


def _known(formats: Mapping[str, ToolFormat], render: Render) -> ToolFormat | None:
    """The known format of the first text that the template holds."""
    return next((form for text, form in formats.items() if text in render.source), None)


def _learned(samples: Samples) -> ToolFormat | None:
    """The format that shows in renderings, if it reads them."""
    one, two = samples.turn("", ONE), samples.turn("", ONE, OTHER)
    if one is None or NAME not in one:
        return None
    if two is None or OTHER_NAME not in two:
        two = None
    for learn in (learn_objects, learn_named, learn_pythonic, learn_tagged):
        found = learn(samples, one, two)
        if (
            found is not None
            and _reads(found, one, [ONE])
            and (two is None or _reads(found, two, [ONE, OTHER]))
        ):
            return found
    return None


def _reads(form: ToolFormat, text: str, calls: Sequence[SampleCall]) -> bool:
    """Whether a format reads the calls of a rendering."""
    found = [(call.name, call.arguments) for call in read_calls(form, text, _TYPES)]
    try:
        return [(name, json.loads(arguments)) for name, arguments in found] == [
            (call.name, call.arguments) for call in calls
        ]
    except ValueError:
        return False
