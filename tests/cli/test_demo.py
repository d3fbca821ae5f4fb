"""The command line, run as a process of its own."""

from __future__ import annotations

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


def test_help() -> None:
    assert "demo" in run("--help").stdout
    assert run("--version").stdout == f"poolinfer {poolinfer.__version__}\n"
    assert run().returncode == 2
