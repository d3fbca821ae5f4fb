"""gunicorn's settings for app.py."""

from typing import Any

# Few processes, because each has a pool. Many threads, because a thread costs little while it waits for the pool.
workers = 2
worker_class = "gthread"
threads = 32
# Longer than the longest call: a web worker that is told to stop answers its running requests first.
graceful_timeout = 65


def post_worker_init(_: Any) -> None:
    """Loads the model in each web worker, after the application is imported and before the first request."""
    from app import pool

    pool.start()
