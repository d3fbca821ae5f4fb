"""Servers and task queues that fork, the real ones, with the recipes of `docs/servers.md`."""

from __future__ import annotations

import http.client
import json
import os
import re
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

from poolinfer.testing import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PERU, LIMA = "What is the capital of Peru?", "The capital of Peru is Lima."
WAIT = 30.0

#: The example, and which of the web workers it was that answered.
TELLING = """
import os
from app import app, pool

@app.after_request
def tell(response):
    response.headers["X-Pid"] = str(os.getpid())
    return response
"""


def children(pid: int) -> list[int]:
    """Process ids of the children of a process, those of its threads included."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found.extend(map(int, path.read_text().split()))
    return found


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    return [pid, *(one for child in children(pid) for one in family(child))]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(pid: int) -> list[int]:
    """The processes of poolinfer below a process."""
    return [one for one in family(pid) if b"poolinfer._" in command_line(one)]


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
        with suppress(OSError, http.client.HTTPException):
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
        everybody = family(self.process.pid)
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
            everybody = family(process.pid) if process.poll() is None else []
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
    """The hook of the example finds that out before the first request."""
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
    command = (*GUNICORN, "-k", "sync", "--timeout", "3", "telling:app")
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
    str(Path(sys.executable).with_name("pyuwsgi")),
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


def recipe(heading: str) -> str:
    """The last block of Python under a heading of the page."""
    page = (ROOT / "docs/servers.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[-1]


def run_python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{cwd}"},
        capture_output=True,
        text=True,
        timeout=WAIT,
        cwd=cwd,
    )


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


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_F16_multiprocessing_recipe(tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(recipe("multiprocessing").replace('"spawn"', repr(method)))
    done = run_python(str(script), cwd=tmp_path)
    assert done.stdout == f"{LIMA}\nThe capital of Spain is Madrid.\n", done.stderr


FORKING = """
import multiprocessing, os, warnings
from pathlib import Path
from poolinfer import *

# Since 3.12 a fork beside threads warns; here it is the point.
warnings.simplefilter("ignore", DeprecationWarning)
PERU, FILES = "What is the capital of Peru?", ("socket:", "pipe:", "anon_inode:")

def held():
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        try: found.add((int(entry.name), os.readlink(entry)))
        except OSError: pass
    return {one for one in found if one[1].startswith(FILES)}

def chat(pool):
    return pool.chat(PERU, temperature=0, timeout=30).answer

def in_child(function, *args):
    # What function returns in a forked child, or the name and the message of what it raises.
    def run():
        try: writing.send(function(*args))
        except Exception as error: writing.send((type(error).__name__, str(error)))
    reading, writing = multiprocessing.Pipe(False)
    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    writing.close()
    found = reading.recv()
    child.join(30)
    assert child.exitcode == 0, child.exitcode
    return found

def fresh(executor):
    with Pool(demo_model(), executor=executor) as own:
        return chat(own)
"""

STARTED_HERE = """
before = held()
with Pool(demo_model(), executor={executor!r}, workers=2) as pool:
    assert chat(pool) == "The capital of Peru is Lima."
    of_pool = held() - before
    assert (len(of_pool) >= 5) == ({executor!r} != "thread"), of_pool
    left = in_child(lambda: held() & of_pool)
    assert not left, left
    kind, said = in_child(chat, pool)
    assert kind == "ForkedPool" and "Start pools after the fork" in said, (kind, said)
    assert in_child(pool.close) is None
    assert in_child(fresh, "process") == "The capital of Peru is Lima."
    found = in_child(fresh, "thread")
    if {executor!r} == "thread":
        assert found[0] == "ForkedPool" and "executor='process'" in found[1], found
    else:
        assert found == "The capital of Peru is Lima.", found
    assert held() - before == of_pool
    assert chat(pool) == "The capital of Peru is Lima."
    assert pool.stats().failed == 0
"""

MADE_HERE = """
pool = Pool(demo_model(), executor={executor!r})

def use():
    with pool:
        return chat(pool)

assert in_child(use) == "The capital of Peru is Lima."
assert in_child(chat, pool) == "The capital of Peru is Lima."
assert use() == "The capital of Peru is Lima."
"""


@pytest.mark.parametrize("executor", ["thread", "process", "prefork"])
@pytest.mark.parametrize("case", [STARTED_HERE, MADE_HERE], ids=["started", "made"])
def test_F16_multiprocessing_fork(run_script: Any, case: str, executor: str) -> None:
    """No descriptor of the pool in the child; ForkedPool; the parent goes on. A pool that was only made works."""
    done = run_script(FORKING + case.replace("{executor!r}", repr(executor)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_F16_a_fork_between_the_first_call_and_the_pools_thread(run_script: Any) -> None:
    """The child does not take the parent's call for its own."""
    done = run_script(
        FORKING
        + """
import threading
from poolinfer.testing import FakeExecutor

starts, found = threading.Thread.start, []
def start(thread):
    if thread.name == "poolinfer-conductor":
        threading.Thread.start = starts
        found.append(in_child(pool.submit, Raw("in the child")))
    starts(thread)

threading.Thread.start = start
pool = Pool(executor=FakeExecutor())
assert pool.raw("hello").text == "hello"
pool.close()
assert found[0][0] == "ForkedPool", found
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
