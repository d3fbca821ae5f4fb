"""`Constraint`: what an answer is held to, as plain data that an engine can compile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer is held to. A checked request has one in place of the options that say it.

    Attributes:
        kind: what `text` is.
            ``"json_schema"``: a JSON schema, as JSON text. ``"json_object"``: nothing; any JSON object will do.
            ``"regex"``: a regular expression. ``"choices"``: a JSON list of texts, of which the answer is one.
            ``"lark"``: a grammar in llguidance's form of Lark.
        text: the schema, expression, list or grammar.
        strict: whether all of it must be enforced; False lets keywords of a schema be ignored that cannot be.
    """

    kind: Literal["json_schema", "json_object", "regex", "choices", "lark"]
    text: str = ""
    strict: bool = True
