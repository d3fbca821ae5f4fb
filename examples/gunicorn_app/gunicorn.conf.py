"""gunicorn's settings for app.py."""

from typing import Any

# Few processes, because each has a pool, and many threads, which cost little while they wait for it.
workers = 2
worker_class = "gthread"
threads = 32
# Longer than the longest call, which a web worker that is told to stop still answers.
graceful_timeout = 65


def post_worker_init(_: Any) -> None:
    """In each web worker, once it has the application: load the model before the first request comes."""
    from app import pool

    pool.start()
