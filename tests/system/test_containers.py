"""What containers and embedding programs do to a pool: limits, no place to write, no init, no interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolinfer import Model, Pool, Raw, demo_model
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._executors.process import ProcessExecutor
from poolinfer._pool.lane_sizing import _kv_tokens
from poolinfer._system import machine
from poolinfer._system.environment import interpreter
from poolinfer.testing import wait_until
from poolinfer.testing._crash import crash_program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
WAIT = 30.0

LIMITED = {
    "v2": {"cpu.max": "150000 100000\n", "memory.max": "3000000\n", "memory.current": "1000000\n"},
    "v1": {
        "cpu/cpu.cfs_quota_us": "150000\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": "3000000\n",
        "memory/memory.usage_in_bytes": "1000000\n",
    },
}
UNLIMITED = {
    "v2": {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.current": "1000000\n"},
    "v1": {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
    "none": {},
}


def write_cgroup(files: dict[str, str], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(machine, "_CGROUP", root)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize("files", LIMITED.values(), ids=LIMITED.keys())
def test_F71_limits_of_the_cgroup(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cgroup(files, tmp_path, monkeypatch)
    assert machine.cores() == 2
    assert machine.available_memory() == 2_000_000
    model = Model.load(demo_model())
    with Pool(model) as pool:
        assert (
            pool.chat("What is the capital of Peru?", temperature=0).answer == "The capital of Peru is Lima."
        )
    each = model.kv_bytes_per_token
    assert _kv_tokens(each, 512, None, lanes=1) == 512
    assert _kv_tokens(each, 256, None, lanes=1) == 2_000_000 // 4 // each
    assert _kv_tokens(each, 100_000, None, lanes=2) == 100_096  # what llama.cpp takes for 100 000


@pytest.mark.parametrize("files", UNLIMITED.values(), ids=UNLIMITED.keys())
def test_F71_a_cgroup_without_limits(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cgroup(files, tmp_path, monkeypatch)
    assert machine.cores() == 8
    assert (machine.available_memory() or 0) > 2_000_000


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_F39_nothing_is_written(run_script: Any, executor: str) -> None:
    """No file can grow; there is no home, no directory for temporary files, and not even a working directory."""
    done = run_script(
        f"""
import os, resource, tempfile
gone = tempfile.mkdtemp()
os.chdir(gone)
os.rmdir(gone)
os.environ.pop("HOME", None)
os.environ["TMPDIR"] = gone
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from poolinfer import *
with Pool(demo_model(), executor={executor!r}) as pool:
    print(pool.chat("What is the capital of Peru?", temperature=0).answer)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "The capital of Peru is Lima.\n", "")


def test_F71_no_zombies() -> None:
    """A worker that has died is reaped by us, though nobody asks for its exit status."""
    executor = ProcessExecutor(
        ModelSpec("", (0, 0, 0, 0)), LaneSpec(n_ctx=4096), workers=2, program=crash_program()
    )
    with Pool(executor=executor) as pool:
        for _ in range(3):
            wait_until(lambda: executor.pids, "there is a worker", WAIT)
            lost = executor.pids[0]
            os.kill(lost, signal.SIGKILL)
            wait_until(lambda lost=lost: lost not in executor.pids, "its end is noticed", WAIT)
            assert not Path(f"/proc/{lost}").exists()
        assert pool.submit(Raw("hello")).result(WAIT).text == "hello"


def test_F72_the_interpreter_of_an_embedded_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """uWSGI sets `sys.executable` to itself, and other embedding programs leave it empty."""
    assert interpreter() == sys.executable
    for executable in ("/usr/bin/uwsgi", ""):
        monkeypatch.setattr(sys, "executable", executable)
        found = subprocess.run([interpreter(), "-c", "import sys; print(sys.prefix)"], capture_output=True)
        assert found.stdout.decode().strip() == sys.prefix
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no Python interpreter"):
        interpreter()
