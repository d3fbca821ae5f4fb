"""Every file of examples/, run with its framework's own test client on the model that ships."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

import poolinfer
from poolinfer.testing import FakeEngine, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
# The demo model runs already, so that no test is blamed for what importing llama_cpp opens.
pytestmark = pytest.mark.usefixtures("tiny")
FRANCE = "What is the capital of France?"


@pytest.fixture(params=["thread", "process", "prefork"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example's pools run there."""

    class Pool(poolinfer.Pool):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{"executor": request.param, **options})

    monkeypatch.setattr(poolinfer, "Pool", Pool)


@pytest.fixture
def endless() -> Iterator[poolinfer.Pool]:
    """A pool whose calls trickle for half a minute; one runs, one waits, a third is refused."""
    engine = FakeEngine(tokens=50_000, step_delay=0.1)
    with poolinfer.Pool(executor=engine.executor(slots=1, n_ctx=60_000), max_queue=1) as pool:
        yield pool


@pytest.fixture
def full(endless: poolinfer.Pool) -> Iterator[poolinfer.Pool]:
    """A pool like `busy`, with no room left in its queue."""
    running = endless.submit(poolinfer.Chat("x"))
    wait_until(lambda: endless.stats().running)
    waiting = endless.submit(poolinfer.Chat("x"))
    yield endless
    running.cancel()
    waiting.cancel()


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{Path(path).stem}", EXAMPLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def lines(body: bytes | str) -> list[dict[str, str]]:
    return [json.loads(line) for line in body.splitlines() if line]


def joined(items: list[dict[str, str]]) -> str:
    return "".join(item["text"] for item in items)


async def leave_early(app: Any, path: str, method: str = "GET", body: bytes = b"", query: str = "") -> None:
    """Speak ASGI to an application, and go away at the first bytes of the answer, or after half a second."""
    began = asyncio.Event()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        message = next(messages, None)
        if message is not None:
            return message
        with anyio.move_on_after(0.5):
            await began.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            began.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"testserver"), (b"content-type", b"application/json")],
    }
    await asyncio.wait_for(app(scope, receive, send), 20)


async def cancelled(pool: poolinfer.Pool) -> int:
    for _ in range(200):
        if pool.stats().cancelled:
            break
        await asyncio.sleep(0.02)
    return pool.stats().cancelled


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", ["quickstart.py", "async_gather.py"])
def test_script(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert "The capital of France is Paris." in printed
    assert "18, 19, 20" in printed


@pytest.mark.usefixtures("place")
def test_structured(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "structured.py"), run_name="__main__")
    reviews = re.findall(r" -> (?:good|bad), [1-5] of 5$", printed := capsys.readouterr().out, re.MULTILINE)
    assert len(reviews) == 3
    assert re.search(r"^choice: (?:yes|no)$", printed, re.MULTILINE)
    assert "answers: ['" in printed


@pytest.mark.usefixtures("place")
def test_session_with_tools(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "session_tools.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert 'get_weather({"city": "Lisbon"}) -> 18 C, sunny' in printed
    assert "It is 18 C, sunny in Lisbon." in printed
    assert "(6 messages)" in printed


class TestFastAPI:
    @pytest.fixture
    def client(self, place: None) -> Iterator[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from fastapi.testclient import TestClient

        with TestClient(load("fastapi_app.py").app) as client:
            yield client

    def test_chat(self, client: Any) -> None:
        reply = client.post("/chat", json={"prompt": FRANCE, "temperature": 0})
        assert reply.status_code == 200
        assert "Paris" in reply.json()["choices"][0]["message"]["content"]
        assert "1/1 calls done" in client.get("/stats").json()["stats"]

    def test_stream(self, client: Any) -> None:
        reply = client.post("/stream", json={"prompt": "Count from 1 to 20.", "temperature": 0})
        assert reply.headers["content-type"] == "application/x-ndjson"
        assert joined(lines(reply.text)).startswith("1, 2, 3, 4, 5")

    def test_events(self, client: Any) -> None:
        reply = client.get("/events", params={"prompt": "Count from 1 to 20."})
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert all("text" in json.loads(line[6:]) for line in reply.text.split("\n\n") if line)

    def test_errors(self, client: Any, full: poolinfer.Pool) -> None:
        reply = client.post("/chat", json={"prompt": "x", "max_tokens": 0})
        assert reply.status_code == 422
        assert "max_tokens" in reply.json()["detail"]
        assert client.post("/chat", json={"prompt": FRANCE, "timeout": 0}).status_code == 504
        long = client.post("/stream", json={"prompt": "word " * 5000})
        assert lines(long.text)[-1]["error"] == "ContextOverflow"
        client.app.state.pool = full
        for path in ("/chat", "/stream"):
            reply = client.post(path, json={"prompt": "x"})
            assert reply.status_code == 503
            assert int(reply.headers["retry-after"]) >= 1

    @pytest.mark.parametrize(("path", "method"), [("/chat", "POST"), ("/stream", "POST"), ("/events", "GET")])
    def test_disconnect_cancels(self, endless: poolinfer.Pool, path: str, method: str) -> None:
        app = load("fastapi_app.py").app
        app.state.pool = endless

        async def visit() -> None:
            await leave_early(app, path, method, b'{"prompt": "x"}', "prompt=x")
            assert await cancelled(endless) == 1

        asyncio.run(visit())


class TestFlask:
    @pytest.fixture
    def client(self, place: None) -> Iterator[Any]:
        app = load("flask_app.py").create_app()
        yield app.test_client()
        app.extensions["poolinfer"].close()

    def test_chat(self, client: Any) -> None:
        reply = client.post("/chat", json={"prompt": FRANCE, "temperature": 0})
        assert "Paris" in reply.json["choices"][0]["message"]["content"]

    def test_stream(self, client: Any) -> None:
        reply = client.post("/stream", json={"prompt": "Count from 1 to 20.", "temperature": 0})
        assert joined(lines(reply.data)).startswith("1, 2, 3, 4, 5")

    def test_errors(self, full: poolinfer.Pool) -> None:
        client = load("flask_app.py").create_app(full).test_client()
        assert client.post("/chat", json={"prompt": ""}).status_code == 422
        for path in ("/chat", "/stream"):
            reply = client.post(path, json={"prompt": "x"})
            assert reply.status_code == 503
            assert int(reply.headers["Retry-After"]) >= 1

    def test_disconnect_cancels(self, endless: poolinfer.Pool) -> None:
        client = load("flask_app.py").create_app(endless).test_client()
        reply = client.post("/stream", json={"prompt": "x"}, buffered=False)
        assert json.loads(next(reply.iter_encoded()))["text"]
        reply.close()
        wait_until(lambda: endless.stats().cancelled == 1)


@pytest.fixture(scope="module")
def django_module() -> ModuleType:
    """Settings can be configured once in a process, so this module is loaded once."""
    module = load("django_app/app.py")
    import django
    from asgiref.sync import sync_to_async

    django.setup()
    # asgiref keeps one thread for the life of the process; start it before a test is blamed for it.
    asyncio.run(sync_to_async(int)())
    return module


class TestDjango:
    @pytest.fixture
    def app(self, django_module: ModuleType, place: None) -> Iterator[ModuleType]:
        made = django_module.pool
        django_module.pool = poolinfer.Pool(made.model, slots=2)
        yield django_module
        django_module.pool.close()
        django_module.pool = made

    def test_sync_view(self, app: ModuleType) -> None:
        from django.test import Client

        reply = Client().get("/ask", {"prompt": FRANCE})
        assert "Paris" in reply.json()["answer"]
        assert Client().get("/ask", {"prompt": ""}).status_code == 422

    def test_async_views(self, app: ModuleType) -> None:
        from django.test import AsyncClient

        async def visit() -> None:
            reply = await AsyncClient().get("/aask", {"prompt": FRANCE})
            assert "Paris" in reply.json()["answer"]
            reply = await AsyncClient().get("/stream", {"prompt": "Count from 1 to 20."})
            body = b"".join([part async for part in reply.streaming_content])
            assert joined(lines(body)).startswith("1, 2, 3, 4, 5")

        asyncio.run(visit())

    def test_full(self, app: ModuleType, full: poolinfer.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        from django.test import Client

        monkeypatch.setattr(app, "pool", full)
        reply = Client().get("/ask", {"prompt": "x"})
        assert reply.status_code == 503
        assert int(reply["Retry-After"]) >= 1

    @pytest.mark.parametrize("path", ["/aask", "/stream"])
    def test_disconnect_cancels(
        self, app: ModuleType, endless: poolinfer.Pool, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(app, "pool", endless)

        async def visit() -> None:
            await leave_early(app.application, path, query="prompt=x")
            assert await cancelled(endless) == 1

        asyncio.run(visit())


RUN_NOTEBOOK = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_notebook(tmp_path: Path) -> None:
    done = tmp_path / "done.ipynb"
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    command = [sys.executable, "-c", RUN_NOTEBOOK, str(EXAMPLES / "notebook.ipynb"), str(done)]
    subprocess.run(command, check=True, env=environment, timeout=170)
    shown = [output for cell in json.loads(done.read_text())["cells"] for output in cell.get("outputs", ())]
    text = "".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in shown)
    assert "Paris" in text
    assert "18, 19, 20" in text
    assert any("<th>succeeded</th>" in "".join(o.get("data", {}).get("text/html", "")) for o in shown)
