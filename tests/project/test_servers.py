"""Servers and task queues that fork, the real ones, with the recipes of `docs/servers.md`."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from processes import alive, children, descendants
from recipes import LIMA, PERU, ROOT, WAIT, recipe, run_python

from poolinfer.testing import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
EXAMPLES = ROOT / "examples"

#: The example, and which of the web workers it was that answered.
TELLING = """
import os
from app import app, pool

@app.after_request
def tell(response):
    response.headers["X-Pid"] = str(os.getpid())
    return response
"""


def workers_of(pid: int) -> list[int]:
    """The processes of poolinfer below a process."""
    return [one for one in descendants(pid) if b"poolinfer._" in command_line(one)]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Server:
    """A running server that listens on a socket in the file system."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
        self.process = process
        self.path = str(path)
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def web(self) -> list[int]:
        return children(self.process.pid)

    def ask(self, path: str = "/chat", prompt: str = PERU) -> tuple[int, int, Any]:
        """The process that answered a question, the status and the answer."""
        connection = http.client.HTTPConnection("localhost", timeout=WAIT)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(WAIT)
            connection.sock.connect(self.path)
            body = json.dumps({"prompt": prompt, "temperature": 0})
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return int(reply.headers.get("X-Pid", 0)), reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log
        with suppress(OSError, http.client.HTTPException, ValueError):
            self.ask()
            return True
        return False

    def expect_right_answers(self) -> None:
        """Ask until two web workers have answered, all of them rightly."""
        seen: set[int] = set()

        def ask_four() -> bool:
            with ThreadPoolExecutor(4) as threads:
                replies = list(threads.map(lambda _: self.ask(), range(4)))
            for pid, status, reply in replies:
                assert (status, content(reply)) == (200, LIMA), self.log
                seen.add(pid)
            return len(seen) == 2

        wait_until(ask_four, "both web workers have answered", WAIT)
        assert seen == set(self.web)

    def end(self) -> None:
        """SIGTERM, after which no process may be left."""
        everybody = [self.process.pid, *descendants(self.process.pid)]
        self.process.terminate()
        assert self.process.wait(WAIT) == 0, self.log
        wait_until(lambda: not any(map(alive, everybody)), "all processes have ended", 10)


def content(reply: Any) -> str:
    return reply["choices"][0]["message"]["content"]


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """Starts a server in a directory of its own; ends it, whatever happens."""

    @contextmanager
    def start(*command: str, app: str = TELLING, executor: str = "thread") -> Iterator[Server]:
        (tmp_path / "telling.py").write_text(app)
        paths = [ROOT / "src", tmp_path, EXAMPLES / "gunicorn_app", EXAMPLES]
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "POOLINFER_EXECUTOR": executor,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        }
        log = tmp_path / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *command], env=environment, cwd=tmp_path, stdout=out, stderr=out
            )
        try:
            yield Server(process, tmp_path / "s", log)
        finally:
            everybody = [process.pid, *descendants(process.pid)] if process.poll() is None else []
            for pid in everybody:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(WAIT)

    return start


GUNICORN = ("-m", "gunicorn", "--bind", "unix:s", "--workers", "2")
CONF = str(EXAMPLES / "gunicorn_app" / "gunicorn.conf.py")


@pytest.mark.parametrize(
    "options",
    [
        ("process", "-k", "sync"),
        ("thread", "-k", "sync", "--preload"),
        ("prefork", "-k", "gthread"),
        ("process", "-k", "gthread", "--preload"),
    ],
    ids=" ".join,
)
def test_F16_gunicorn(serve: Any, options: tuple[str, ...]) -> None:
    """Both web workers answer, a killed one is replaced and leaves nothing, SIGTERM ends all."""
    executor, *flags = options
    with serve(*GUNICORN, "-c", CONF, *flags, "telling:app", executor=executor) as server:
        wait_until(server.is_up, "the server is up", WAIT)
        server.expect_right_answers()
        killed, other = server.web
        widows = workers_of(killed)
        assert len(widows) == {"thread": 0, "process": 1, "prefork": 2}[executor]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(server.web) == 2 and killed not in server.web, "it is replaced", WAIT)
        wait_until(lambda: not any(map(alive, widows)), "its worker processes have ended", 10)
        server.expect_right_answers()
        assert other in server.web
        server.end()


STARTED = TELLING + "\npool.start()\n"


def test_F16_gunicorn_preload_of_a_started_pool(serve: Any) -> None:
    """A request is answered with what to do."""
    with serve(*GUNICORN, "--preload", "telling:app", app=STARTED) as server:
        wait_until(server.is_up, "the server is up", WAIT)
        _, status, reply = server.ask()
        assert status == 500
        assert "Start pools after the fork" in reply["error"]
        assert "post_worker_init" in reply["error"]
        server.end()


def test_F16_gunicorn_does_not_boot_with_a_started_pool(serve: Any) -> None:
    """The hook in the example's configuration finds a started pool before the first request."""
    with serve(*GUNICORN, "-c", CONF, "--preload", "telling:app", app=STARTED) as server:
        # 3, or 1 where gunicorn trips over two workers that fail at once.
        assert server.process.wait(WAIT) in (1, 3), server.log
        assert "Worker failed to boot" in server.log
        assert "Start pools after the fork" in server.log


STUCK = TELLING + (
    """
import time

@app.post("/stuck")
def stuck():
    pool.chat("What is 2 + 2?", temperature=0)
    time.sleep(300)
"""
)


def test_F16_gunicorn_worker_timeout(serve: Any) -> None:
    """A web worker that is killed for its time leaves no worker process."""
    command = (*GUNICORN, "-k", "sync", "--timeout", "5", "telling:app")
    with serve(*command, app=STUCK, executor="process") as server:
        wait_until(server.is_up, "the server is up", WAIT)
        server.expect_right_answers()
        web, workers = server.web, workers_of(server.process.pid)
        with suppress(OSError, http.client.HTTPException, ValueError):
            server.ask("/stuck")
        wait_until(lambda: not all(map(alive, web)), "the web worker has ended", WAIT)
        wait_until(lambda: sum(map(alive, workers)) == 1, "its worker process has ended", 10)
        server.expect_right_answers()
        server.end()


ASGI = {
    "uvicorn": ("-m", "uvicorn", "--uds", "s", "--workers", "2", "fastapi_app:app"),
    "gunicorn": (*GUNICORN, "--preload", "-k", "uvicorn.workers.UvicornWorker", "fastapi_app:app"),
}


@pytest.mark.parametrize("command", ASGI.values(), ids=ASGI.keys())
def test_F16_asgi_servers(serve: Any, command: tuple[str, ...]) -> None:
    with serve(*command) as server:
        wait_until(server.is_up, "the server is up", WAIT)
        assert content(server.ask()[2]) == LIMA
        server.end()


UWSGI = (
    *("-c", "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"),
    *("--http-socket", "s", "--processes", "2", "--threads", "4", "--enable-threads"),
    *("--master", "--need-app", "--die-on-term", "--module", "telling:app"),
)


@pytest.mark.parametrize(
    ("lazy", "executor"), [(("--lazy-apps",), "process"), ((), "thread")], ids=["lazy", "preload"]
)
def test_F16_uwsgi(serve: Any, lazy: tuple[str, ...], executor: str) -> None:
    with serve(*UWSGI, *lazy, executor=executor) as server:
        wait_until(server.is_up, "the server is up", WAIT)
        server.expect_right_answers()
        assert len(workers_of(server.process.pid)) == (2 if executor == "process" else 0)
        server.end()


CELERY_SETTINGS = """
from tasks import app
app.conf.update(
    broker_url="filesystem://", result_backend="file://results", worker_hijack_root_logger=False,
    broker_transport_options=dict(data_folder_in="queue", data_folder_out="queue", control_folder="control"),
)
"""
CELERY_CLIENT = """
import settings, tasks
asked = [tasks.ask.delay("What is the capital of Peru?") for _ in range(4)]
print(*[reply.get(timeout=30) for reply in asked], sep="\\n")
"""


def test_F16_celery(serve: Any, tmp_path: Path) -> None:
    for folder in ("queue", "results", "control"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tasks.py").write_text(recipe("Celery"))
    (tmp_path / "settings.py").write_text(CELERY_SETTINGS)
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    with serve(
        "-m", "celery", "-A", "settings:app", "worker", "-c", "2", *quiet, executor="process"
    ) as server:
        client = run_python("-c", CELERY_CLIENT, cwd=tmp_path)
        assert client.stdout == f"{LIMA}\n" * 4, client.stderr + server.log
        assert len(server.web) == 2
        server.end()
