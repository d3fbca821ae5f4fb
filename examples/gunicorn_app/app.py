"""poolinfer behind gunicorn: every web worker has a pool of its own.

pip install flask gunicorn
gunicorn app:app                  # reads gunicorn.conf.py beside it
"""

import math
import os
from typing import Any

from flask import Flask, Response, jsonify, request

import poolinfer

app = Flask(__name__)

# The pool is only made here, which is harmless before a fork. gunicorn.conf.py starts it in each web worker.
pool = poolinfer.Pool(
    os.environ.get("POOLINFER_MODEL") or poolinfer.demo_model(),
    executor=os.environ.get("POOLINFER_EXECUTOR", "thread"),
    slots=8,
    threads=int(os.environ.get("POOLINFER_THREADS", "1")),  # cores per web worker
    max_queue=100,
)


@app.post("/chat")
def chat() -> dict[str, Any]:
    asked = request.get_json()
    question = poolinfer.Chat(asked.get("prompt"), temperature=asked.get("temperature", 0.8), timeout=60)
    return pool.submit(question).result().to_openai()


@app.errorhandler(poolinfer.InvalidRequest)
def refused(error: poolinfer.InvalidRequest) -> tuple[Response, int]:
    return jsonify(error=error.message, field=error.field), 422


@app.errorhandler(poolinfer.PoolFull)
def busy(error: poolinfer.PoolFull) -> tuple[Response, int, dict[str, str]]:
    return jsonify(error=error.message), 503, {"Retry-After": str(math.ceil(error.retry_after))}


@app.errorhandler(poolinfer.PoolinferError)
def failed(error: poolinfer.PoolinferError) -> tuple[Response, int]:
    late = isinstance(error, poolinfer.DeadlineExceeded)
    return jsonify(error=error.message), 504 if late else 500
