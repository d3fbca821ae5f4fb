"""A model's answers to schemas in the shapes of real APIs, beside calls that are free."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
from api_schemas import api_schemas

from poolinfer import Chat, Pool, Raw


def that_end(pool: Pool) -> dict[int, float]:
    """What biases an untrained model towards JSON that ends: it would write letters and digits for ever."""
    marks = {'"': 40.0, "}": 30.0, "]": 30.0, ",": 8.0}
    found = {mark: pool.raw("x", regex=re.escape(mark), logprobs=True).logprobs for mark in marks}
    return {tokens[0].token: marks[mark] for mark, tokens in found.items()}


def answers_to_schemas(pool: Pool, n: int) -> int:
    """Check the answer to each of so many schemas, beside seven free calls; how many answers were whole."""
    whole = 0
    bias = that_end(pool)
    stop: list[bool] = []
    with ThreadPoolExecutor(1) as others:
        neighbours = others.submit(_free_calls, pool, stop)
        try:
            for number, api in enumerate(api_schemas(n)):
                options = {
                    "temperature": 1.0 + number % 3,
                    "seed": number,
                    "max_tokens": 200,
                    "logit_bias": bias,
                }
                found = pool.submit(Raw("{", response_format=api.schema, **options)).result()  # type: ignore[arg-type]
                if found.finish_reason == "stop":
                    jsonschema.validate(found.parsed, api.schema, jsonschema.Draft202012Validator)
                    whole += 1
                else:
                    with pytest.raises(json.JSONDecodeError):
                        json.loads(found.text)
        finally:
            stop.append(True)
            assert neighbours.result() > 0
    return whole


def _free_calls(pool: Pool, stop: list[bool]) -> int:
    """Keep seven free calls running until `stop` holds something; how many ended well."""
    ended = 0
    while not stop:
        calls = [pool.submit(Chat("Hello!", max_tokens=24, seed=i)) for i in range(7)]
        ended += sum(bool(call.result().answer) for call in calls)
    return ended
