"""A thousand answers of each kind by random weights, each held to a form: all that end fit that form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from api_answers import that_end
from gguf_models import write_llama

from poolinfer import Chat, Model, Pool, Response

_ANSWERS = 1_000
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "size": {"enum": ["small", "large", None]},
        "count": {"type": "integer", "minimum": 0, "maximum": 40},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "size", "count"],
    "additionalProperties": False,
}
_FUNCTION = {"name": "order", "parameters": _SCHEMA}
_CALL: dict[str, Any] = {
    "tools": [{"type": "function", "function": _FUNCTION}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
}
_CHOICES = ["red", "green", "blue-green"]
_REGEX = r"(19|20)[0-9]{2}-[a-f]{1,5}"


def _is_object(reply: Response) -> bool:
    return isinstance(json.loads(reply.text), dict)


def _fits_schema(reply: Response) -> bool:
    return jsonschema.Draft202012Validator(_SCHEMA).is_valid(reply.parsed)


def _is_balanced(reply: Response) -> bool:
    depth = 0
    for char in reply.answer:
        depth += {"(": 1, ")": -1, "x": 0}[char]
        if depth < 0:
            return False
    return depth == 0


def _calls(reply: Response) -> bool:
    (call,) = reply.tool_calls
    arguments = json.loads(call.arguments)
    return call.name == "order" and jsonschema.Draft202012Validator(_SCHEMA).is_valid(arguments)


#: Options of each kind, and whether an answer fits them.
KINDS: dict[str, tuple[dict[str, Any], Callable[[Response], bool]]] = {
    "json_schema": ({"response_format": _SCHEMA}, _fits_schema),
    "json_object": ({"response_format": {"type": "json_object"}}, _is_object),
    "regex": ({"regex": _REGEX}, lambda reply: re.fullmatch(_REGEX, reply.answer) is not None),
    "choices": ({"choices": _CHOICES}, lambda reply: reply.answer in _CHOICES),
    "lark": ({"grammar": 'start: ("(" start ")" | "x"){1,2}'}, _is_balanced),
    "gbnf": ({"grammar": 'root ::= ("(" root ")" | "x"){1,2}'}, _is_balanced),
    "required call": (_CALL, _calls),
    "required call in Mistral's format": (_CALL, _calls),
}


#: A chat template that spells calls as Mistral's models do.
_MISTRAL = (
    "{% for m in messages %}{% if m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}"
    '{"name": {{ c.function.name | tojson }}, "arguments": {{ c.function.arguments | tojson }}}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]{% else %}[{{ m.role }}] {{ m.content }}{% endif %}"
    "{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(
        write_llama(tmp_path_factory.mktemp("random") / "random.gguf", **{"llama.context_length": 2048})
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_by_random_weights_fit(model: Path, kind: str) -> None:
    options, fits = KINDS[kind]
    template = _MISTRAL if "Mistral" in kind else None
    with Model.load(str(model), chat_template=template) as loaded, Pool(loaded, slots=8, n_ctx=1536) as pool:
        whole = _whole(pool, options, fits)
    print(f"{kind}: {whole} of {_ANSWERS} answers ended, and fit")
    assert whole >= _ANSWERS * 9 / 10


def _whole(pool: Pool, options: dict[str, Any], fits: Callable[[Response], bool]) -> int:
    """How many answers end, all of which fit."""
    bias = that_end(pool)
    asked = [
        Chat("Go", seed=seed, temperature=1.0, max_tokens=200, logit_bias=bias, **options)
        for seed in range(_ANSWERS)
    ]
    whole = 0
    for reply in pool.map(asked):
        if reply.finish_reason in ("stop", "tool_calls"):
            assert fits(reply), reply.text
            whole += 1
    return whole
