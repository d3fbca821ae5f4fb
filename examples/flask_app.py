"""poolinfer in Flask: the same pool for every thread of the server, streamed answers, 503 when it is full.

    pip install flask
    flask --app flask_app run

A pool starts its threads at the first call, not when it is made. So a server may import the application and then
fork its workers (gunicorn --preload): each worker gets a pool of its own.
"""

import json
import math
import os
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, request

import poolinfer

MODEL = os.environ.get("POOLINFER_MODEL") or poolinfer.demo_model()


def create_app(pool: poolinfer.Pool | None = None) -> Flask:
    app = Flask(__name__)
    pool = app.extensions["poolinfer"] = pool or poolinfer.Pool(MODEL, slots=8, max_queue=100)

    @app.post("/chat")
    def chat() -> dict[str, Any]:
        return pool.submit(question()).result().to_openai()

    @app.post("/stream")
    def stream() -> Response:
        call = pool.stream(question())
        return Response(lines(call), mimetype="application/x-ndjson")

    @app.errorhandler(poolinfer.InvalidRequest)
    def refused(error: poolinfer.InvalidRequest) -> tuple[Response, int]:
        return jsonify(error=error.message, field=error.field), 422

    @app.errorhandler(poolinfer.PoolFull)
    def busy(error: poolinfer.PoolFull) -> tuple[Response, int, dict[str, str]]:
        return jsonify(error=error.message), 503, {"Retry-After": str(math.ceil(error.retry_after))}

    @app.errorhandler(poolinfer.DeadlineExceeded)
    def late(error: poolinfer.DeadlineExceeded) -> tuple[Response, int]:
        return jsonify(error=error.message), 504

    return app


def question() -> poolinfer.Chat:
    asked = request.get_json()
    temperature = asked.get("temperature", 0.8)
    return poolinfer.Chat(asked.get("prompt"), temperature=temperature, max_tokens=256, timeout=60)


def lines(call: poolinfer.Call[poolinfer.Response]) -> Iterator[str]:
    # A client that leaves makes the server close this generator, and `with call` cancels the work.
    with call:
        try:
            for chunk in call:
                yield json.dumps({"text": chunk.answer}) + "\n"
        except poolinfer.PoolinferError as error:
            yield json.dumps({"error": type(error).__name__, "detail": error.message}) + "\n"
