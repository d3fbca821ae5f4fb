"""Bytes that are no message of a worker."""

from __future__ import annotations

import json

from poolinfer._data.events import Job, Started
from poolinfer._data.requests import Chat
from poolinfer._wire.codec import encode
from poolinfer._wire.frames import Stop


def _burst(job_id: object, event: object) -> bytes:
    return json.dumps({"!": "Burst", "events": [[job_id, event]]}).encode()


CORRUPT = {
    "bad UTF-8": b"\xff\xfe",
    "no JSON": b"{",
    "nothing": b"",
    "unknown type": b'{"!":"os.system"}',
    "no type": b'{"a":1}',
    "type that is a list": b'{"!":["Up"]}',
    "NaN": b'{"!":"Pong","stats":{"!":"ExecutorStats","step_seconds":NaN}}',
    "infinity": b'{"!":"Pong","stats":{"!":"ExecutorStats","step_seconds":1e999}}',
    "seconds beyond all sums": b'{"!":"Pong","stats":{"!":"ExecutorStats","step_seconds":1'
    + b"0" * 400
    + b"}}",
    "a count beyond all sums": b'{"!":"Pong","stats":{"!":"ExecutorStats","steps":1' + b"0" * 400 + b"}}",
    "depth bomb": b"[" * 1_000_000,
    "huge number": b"1" * 100_000,
    "more fields": b'{"!":"Up","extra":1}',
    "fewer fields": b'{"!":"BootFailed"}',
    "a message for workers": encode(Stop()),
    "a job": encode(Job(1, Chat("a"))),
    "a bare event": encode(Started(1)),
    "text that is a number": _burst(1, {"!": "Chunk", "text": 5}),
    "job id that is a text": _burst("1", {"!": "Started"}),
    "a result that is no result": _burst(1, {"!": "Done", "result": {"!": "Started"}}),
    "an unknown finish reason": _burst(
        1, {"!": "Done", "result": {"!": "Response", "text": "", "finish_reason": "x"}}
    ),
    "stats that are texts": b'{"!":"Pong","stats":{"!":"ExecutorStats","steps":"many"}}',
    "bytes that are none": _burst(
        1, {"!": "Done", "result": [{"!": "Embedding", "data": {"!b": "not base64!"}}]}
    ),
    "an unhashable key": b'{"!m":[[{"!m":[]},1]]}',
}
