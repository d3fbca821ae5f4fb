"""llama-cpp-python's bundled batching server, ``examples/server/server.py`` of its source distribution.

The server runs in a process of its own and is asked over HTTP, as its authors intend. Its file is not part of the
installed package: `fetch` takes it from the source distribution and keeps it in a folder that git ignores.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from engine import Answer, Unavailable
from workloads import Prompt, Workload

PEERS_FOLDER = Path(__file__).resolve().parents[1] / "peers"
BOOT_TIMEOUT = 120.0
MEAN_POOLING = 1


def server_file() -> Path:
    """Return the path at which the server's file of the installed version is kept."""
    return PEERS_FOLDER / f"server-{metadata.version('llama-cpp-python')}.py"


def fetch() -> Path:
    """Return the path of the server's file; downloads the source distribution if the file is not there yet."""
    target = server_file()
    if target.exists():
        return target
    PEERS_FOLDER.mkdir(exist_ok=True)
    version = metadata.version("llama-cpp-python")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            "llama-cpp-python",
        ]
        command += ["-d", folder, f"llama-cpp-python=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        archives = list(Path(folder).glob("*.tar.gz"))
        if done.returncode or not archives:
            reason = done.stderr.strip()[-200:]
            raise Unavailable(f"its source distribution cannot be downloaded: {reason}")
        with tarfile.open(archives[0]) as archive:
            name = f"llama_cpp_python-{version}/examples/server/server.py"
            member = archive.extractfile(name)
            if member is None:
                raise Unavailable(f"the source distribution has no {name}")
            target.write_bytes(member.read())
    return target


class BundledServer:
    """The server as a child process; every call is an HTTP connection that streams."""

    def __init__(self, work: Workload) -> None:
        self.settings: dict[str, Any] = {
            "n_seq_max": work.slots,
            "n_ctx": work.n_ctx * work.slots,
            "n_batch": 512,
            "n_ubatch": 512,
            "threads": work.threads,
            "threads_batch": work.threads,
            "kv_unified": True,  # as its own configurations have it: it shares prefixes between sequences
            "store_logits": False,
            "use_mmap": True,
        }
        if work.kind == "embed":
            self.settings |= {"embedding": True, "pooling_type": MEAN_POOLING}
        self._model = work.model
        self._body: dict[str, Any] = {"temperature": 0, "stream": True}
        if work.banned:
            self._body["logit_bias"] = {str(token): -100.0 for token in work.banned}

    def start(self) -> None:
        """Start the server and wait until it answers."""
        if not server_file().exists():
            raise Unavailable("the server's file is not here; bench.py downloads it unless --quick is given")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory()
        config = Path(self._folder.name, "config.json")
        server = {"host": "127.0.0.1", "port": self._port}
        model = {"path": self._model, "alias": "model", **self.settings}
        config.write_text(json.dumps({"server": server, "model": model}), encoding="utf-8")
        self._log = Path(self._folder.name, "log")
        command = [sys.executable, str(server_file()), "-C", str(config)]
        with self._log.open("w") as log:
            self._child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT
        while not self._is_up():
            if self._child.poll() is not None or time.monotonic() > deadline:
                tail = self._log.read_text().strip().splitlines()[-1:]
                self.close()
                raise Unavailable(f"the server did not come up: {tail}")
            time.sleep(0.05)

    def _is_up(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def _post(self, path: str, body: dict[str, Any]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1800)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {response.read()[:200]!r}")
        return response

    def generate(self, prompt: Prompt, max_tokens: int, heard: Callable[[], None]) -> Answer:
        """Answer one prompt."""
        body = {"prompt": prompt.tokens or prompt.text, "max_tokens": max_tokens, **self._body}
        texts, reason = [], None
        with self._post("/v1/completions", body) as response:
            for line in response:
                if line.startswith(b"data: {"):
                    piece = json.loads(line[6:])
                    choice = piece["choices"][0]
                    if choice["text"]:
                        heard()
                        texts.append(choice["text"])
                    reason = choice["finish_reason"] or reason
        # It streams no counts; an answer that ended for its length has exactly what was asked for.
        return Answer("".join(texts), max_tokens if reason == "length" else -1)

    def embed(self, texts: list[str]) -> list[int]:
        """Turn texts into vectors."""
        with self._post("/v1/embeddings", {"input": texts, "model": "model"}) as response:
            return [len(item["embedding"]) for item in json.load(response)["data"]]

    def close(self) -> None:
        """End the server."""
        self._child.terminate()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._folder.cleanup()
