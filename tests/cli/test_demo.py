"""The command line, run as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import poolinfer
from poolinfer._cli.demo import REQUESTS, run_demo


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "poolinfer", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_demo() -> None:
    done = run("demo")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(REQUESTS) == 16
    assert sum(row[:1] == ["thread"] for row in rows) == 8
    assert sum(row[:1] == ["async"] for row in rows) == 8
    assert "The capital of France is Paris." in done.stdout
    assert "18, 19, 20" in done.stdout
    assert "running: 17/17 calls done, 0 running, 0 waiting" in done.stdout.splitlines()[-1]


@pytest.mark.usefixtures("tiny")
def test_demo_fails_when_a_call_fails(capsys: pytest.CaptureFixture[str]) -> None:
    model = poolinfer.Model.load(poolinfer.demo_model(), n_ctx=32)
    assert run_demo(model) == 1
    assert "ContextOverflow" in capsys.readouterr().out


def test_no_such_model() -> None:
    done = run("demo", "--model", "no such file")
    assert done.returncode == 1
    assert done.stderr.startswith("ModelError: ")


def test_a_terminal_without_the_characters_gets_replacements() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "poolinfer", "demo"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"???" in done.stdout


# Where output is not buffered, argparse itself ignores that nobody reads the help.
@pytest.mark.parametrize(("command", "status"), [("demo", {1}), ("--help", {0, 1})])
def test_a_reader_that_goes_away_ends_it_quietly(command: str, status: set[int]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "poolinfer", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(50) in status


def test_help() -> None:
    assert "demo" in run("--help").stdout
    assert run("--version").stdout == f"poolinfer {poolinfer.__version__}\n"
    assert run().returncode == 2
