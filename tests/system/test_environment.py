"""Hosts whose standard library is not what it was (gevent, eventlet), or whose settings are odd."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poolinfer import Model, ModelError, Pool, demo_model
from poolinfer._executors import descriptions
from poolinfer._system.environment import child_environment

SRC = Path(__file__).parents[2] / "src"
PERU = "What is the capital of Peru?", "The capital of Peru is Lima."
WAIT = 40.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def _patch(library: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Patch `time.sleep` as a library does.

    Returns:
        A list that grows by each pause in which others had a turn.
    """
    turns: list[float] = []
    sleep = time.sleep

    def patched(seconds: float) -> None:
        turns.append(seconds)
        sleep(seconds)

    patched.__module__ = f"{library}.hub"
    monkeypatch.setattr(time, "sleep", patched)
    return turns


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("executor", ["process", "prefork"])
def test_F70_a_patched_host_has_no_worker_processes(tiny, monkeypatch, library, executor):
    _patch(library, monkeypatch)
    with pytest.raises(ModelError, match=rf"{executor}.*{library}.*'thread'"):
        Pool(tiny, executor=executor)


def test_F70_lanes_of_a_patched_host_give_others_a_turn(monkeypatch):
    turns = _patch("gevent", monkeypatch)
    with Pool(demo_model(), slots=1) as pool:
        assert pool.chat(PERU[0], temperature=0).text == PERU[1]
        assert turns.count(descriptions._TURN_SECONDS) >= 5


#: Eight calls beside a greenlet that counts its turns, and a deadline in the middle of another call.
GREEN = """
import time
{patch}
from poolinfer import *

try:
    Pool(demo_model(), executor="process")
except ModelError as error:
    assert "{library}" in str(error), error
turns, texts = [], []

def count():
    while len(texts) < 8:
        turns.append(time.monotonic())
        sleep(0.001)

with Pool(demo_model(), slots=4) as pool:
    pool.start()
    spawn(count)
    for _ in range(8):
        spawn(lambda: texts.append(pool.chat({question!r}, temperature=0, timeout=40).text))
    while len(texts) < 8:
        sleep(0.001)
    assert texts == [{answer!r}] * 8, texts
    assert len(turns) > 8, turns
    began = time.monotonic()
    try:
        pool.raw("Count", max_tokens=400, temperature=1.5, seed=7, timeout=0.02)
    except DeadlineExceeded:
        assert time.monotonic() - began < 5
    pieces = [piece.text for piece in pool.stream({question!r}, temperature=0)]
    assert "".join(pieces) == {answer!r} and len(pieces) > 1
print("fine")
"""
PATCHES = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all(); from gevent import sleep, spawn",
    "eventlet": "import eventlet; eventlet.monkey_patch(); from eventlet import sleep, spawn",
}


@pytest.mark.parametrize("library", PATCHES)
def test_F70_threads_work_beside_greenlets(run_script, library):
    pytest.importorskip(library)
    source = GREEN.format(library=library, patch=PATCHES[library], question=PERU[0], answer=PERU[1])
    done = run_script(source, flags=("-W", "ignore"))
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


ODD = {
    "sys.path": "import pathlib; sys.path[0:0] = [pathlib.Path('/tmp'), 5, None, b'x', '/a:b']",
    "sys.executable is None": "sys.executable = None",
    "sys.executable is a number": "sys.executable = 5",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_F72_a_host_with_odd_settings_of_its_interpreter(run_script, odd):
    done = run_script(
        f"""
import sys
{odd}
from poolinfer import *
with Pool(demo_model(), executor="process", slots=1) as pool:
    print(pool.chat({PERU[0]!r}, temperature=0, timeout=40).text)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, PERU[1] + "\n", "")


def test_F72_an_old_backport_beside_the_package_is_not_the_standard_library(tmp_path):
    """The old backport lies in a folder that comes last in the host's path, as site-packages does."""
    (tmp_path / "poolinfer").symlink_to(SRC / "poolinfer")
    for name in ("dataclasses", "queue", "typing"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('an old {name}')")
    script = f"""
import os, sys
others = [path for path in sys.path if not os.path.isdir(os.path.join(path, "poolinfer"))]
sys.path[:] = [*others, {str(tmp_path)!r}]
from poolinfer import *
with Pool(demo_model(), executor="process", slots=1) as pool:
    print(pool.chat({PERU[0]!r}, temperature=0, timeout=40).text)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=WAIT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, PERU[1] + "\n", "")


def test_whatever_keeps_a_worker_from_starting_ends_the_start_and_is_said(tiny: Model, monkeypatch):
    def fail(*_):
        raise TypeError("no such thing as an interpreter")

    monkeypatch.setattr("poolinfer._executors.workers.spawner.interpreter", fail)
    with pytest.raises(ModelError, match="cannot be started: no such thing"), Pool(tiny, executor="process"):
        pass


@linux
def test_prefork_without_proc_says_so(tiny: Model, monkeypatch, tmp_path):
    monkeypatch.setattr(descriptions, "_TASKS", str(tmp_path / "task"))
    with pytest.raises(ModelError, match=r"needs .*task.*'process'"):
        Pool(tiny, executor="prefork")


@linux
def test_F37_prefork_in_a_host_with_more_than_1024_descriptors(run_script):
    done = run_script(
        f"""
import os, resource
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
from poolinfer import *
with Pool(demo_model(), executor="prefork", slots=1) as pool:
    print(pool.chat({PERU[0]!r}, temperature=0, timeout=40).text)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, PERU[1] + "\n", "")


def test_the_environment_of_a_worker_has_no_secrets():
    kept = child_environment(
        {"PATH": "/bin", "AWS_SECRET": "x", "LC_ALL": "C", "OMP_NUM_THREADS": "2", "LD_PRELOAD": "x"}
    )
    assert kept.pop("PYTHONPATH")
    assert kept.pop("PYTHONSAFEPATH") == "1"
    assert kept == {"PATH": "/bin", "LC_ALL": "C", "OMP_NUM_THREADS": "2", "GGML_NO_BACKTRACE": "1"}
