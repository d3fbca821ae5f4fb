"""gunicorn's settings for app.py."""

from typing import Any

# Few processes, because each has a pool. Many threads, because a thread that waits for its pool costs little.
workers = 2
worker_class = "gthread"
threads = 32
# Longer than the longest call: a web worker that is told to stop still answers its calls.
graceful_timeout = 65


def post_worker_init(_: Any) -> None:
    """In each web worker, once it has the application: load the model before the first request comes."""
    from app import pool

    pool.start()
